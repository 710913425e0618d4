# What there is to know about a board before anything is touched. Partition $1; the rest is appended.
mkdir -p "$run"
echo "machine $(uname -m)"
echo "release $(uname -r)"
echo "version $(uname -v)"
echo "boot-id $(cat /proc/sys/kernel/random/boot_id)"
echo "uptime $(cut -d. -f1 /proc/uptime)"
echo "cmdline $(cat /proc/cmdline)"
for name in compatible model; do
	[ ! -r /proc/device-tree/$name ] || echo "$name $(tr '\000' ' ' </proc/device-tree/$name)"
done
free() { df -Pk "$1" 2>/dev/null | tail -n 1 | { read -r _ _ _ kib _ && echo "$kib"; }; }
echo "free-root $(free /lib/modules)"
# The filesystem that holds it is the last one mounted on a directory above it.
modules=$(readlink -f /lib/modules) ro=''
while read -r _ _ _ _ point options rest; do
	case $modules/ in
	"${point%/}"/*)
		case ",$options,${rest##* }," in
		*,ro,*) ro=1 ;;
		*) ro='' ;;
		esac
		;;
	esac
done </proc/self/mountinfo
[ -z "$ro" ] || echo "root-ro 1"
! command -v zstd >/dev/null || echo "zstd 1"
evidence() {
	if [ -e "$boot_at/$1" ] && grep -q -a -F -e "$2" "$boot_at/$1" 2>/dev/null; then
		echo "evidence $1"
	fi
}
state() {
	[ ! -e "$boot_at/$1" ] || echo "state $1 $(od -An -v -tx1 "$boot_at/$1" | tr -d ' \n')"
}
# Files of the image's own kernel, as the board has them now.
image_file() {
	[ ! -f "$boot_at/$1" ] || (cd "$boot_at" && echo "image $(sha256sum "$1")")
}
list() {
	for dir in "$store"/*/; do
		dir=${dir%/}
		id=${dir##*/}
		case $id in
		'*') continue ;;
		*.partial)
			echo "partial $id"
			continue
			;;
		esac
		echo "deployment $id"
		[ ! -r "$dir/info" ] || sed 's/^/info /' "$dir/info"
		[ ! -r "$dir/good" ] || echo "good $(tr '\n' ' ' <"$dir/good")"
		[ ! -r "$dir/log" ] || echo "log 1"
		[ -d "$boot_at/bimg/$id" ] || echo "boot-missing 1"
	done
	for dir in "$boot_at"/bimg/*/; do
		dir=${dir%/}
		id=${dir##*/}
		[ "$id" = '*' ] || [ -d "$store/$id" ] || echo "boot-only $id"
	done
}
# What the new deployment may take over: $1, or the kernel that came with the image.
base() {
	if [ -r "$store/$1/files" ] && [ -n "$1" ]; then
		echo "base $1"
		cd "$store/$1" || exit
		if stamp | cmp -s - stamp; then
			sed 's/^/base-file /' files
		else
			find modules -type f -exec sha256sum {} + | sed 's/^/base-file /'
			grep '  boot/' files | sed 's/^/base-file /'
		fi
	elif cd "/lib/modules/$(uname -r)" 2>/dev/null; then
		find . -type f -exec sha256sum {} + | sed 's|  \./|  modules/|; s/^/base-file /'
	fi
	cd /
}
