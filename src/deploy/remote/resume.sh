# What an interrupted deploy of $1 left, and whether it and kernel $2 are whole: hashes of the files that arrived.
# Those below directory $1, with $2 before their names.
hashes() {
	cd "$1" 2>/dev/null && find . -type f ! -name '.*' -print0 | hash_files | sed "s|  \./|  $2|"
}
hashes "$store/$1.partial/sent" ''
# Of one with a module that was touched since, nothing.
if cd "$store/$1" 2>/dev/null && stamp | cmp -s - stamp; then
	find . ! -name . -prune -type f -print0 | hash_files | sed 's|  \./|  whole/|'
fi
boot_open ro
hashes "$boot_at/bimg/$1.partial" boot/
hashes "$boot_at/bimg/kernels/$2.partial" kernel/
hashes "$boot_at/bimg/$1" whole/boot/
hashes "$boot_at/bimg/kernels/$2" whole/kernel/
exit 0
