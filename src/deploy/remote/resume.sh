# What an interrupted deploy of $1 left, and whether kernel $2 is whole: hashes of the files that arrived.
cd "$store/$1.partial/sent" 2>/dev/null && find . -type f ! -name '.*' -exec sha256sum {} + | sed 's|  \./|  |'
boot_open ro
cd "$boot_at/bimg/$1.partial" 2>/dev/null && find . -type f ! -name '.*' -exec sha256sum {} + | sed 's|  \./|  boot/|'
cd "$boot_at/bimg/kernels/$2.partial" 2>/dev/null && find . -type f ! -name '.*' -exec sha256sum {} + | sed 's|  \./|  kernel/|'
cd "$boot_at/bimg/$1" 2>/dev/null && find . -type f ! -name '.*' -exec sha256sum {} + | sed 's|  \./|  whole/boot/|'
cd "$boot_at/bimg/kernels/$2" 2>/dev/null && find . -type f ! -name '.*' -exec sha256sum {} + | sed 's|  \./|  whole/kernel/|'
exit 0
