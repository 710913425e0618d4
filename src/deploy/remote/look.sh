# What else there is to know about a board before anything is touched; the rest is appended.
mkdir -p "$run"
running=$(sed -n 's/.*bimg_deploy=\([0-9a-f]*\).*/\1/p' /proc/cmdline)
echo "uptime $(cut -d. -f1 /proc/uptime)"
for name in compatible model; do
	[ ! -r /proc/device-tree/$name ] || printf '%s %s\n' $name "$(tr '\000' ' ' </proc/device-tree/$name)"
done
# A small busybox may lack some.
for tool in cmp cp cut dd df find grep head mv od sed sha256sum sort stat tail tar tr wc xargs; do
	command -v $tool >/dev/null || echo "lacks $tool"
done
free() { df -Pk "$1" 2>/dev/null | tail -n 1 | { read -r _ _ _ kib _ && echo "$kib"; }; }
# A kernel with all built in has no modules.
at=/lib/modules
[ -d $at ] || at=/lib
echo "free-root $(free $at)"
# The filesystem that holds them is the last one mounted on a directory above. Some say nothing about what is missing.
modules=$(readlink -f "$store" || readlink -f /lib/modules || readlink -f /lib) ro='' held=''
while read -r _ _ number _ point options rest; do
	case $modules/ in
	"${point%/}"/*)
		if read_only "$options" "$rest"; then ro=1; else ro=''; fi
		rest=" $rest"
		rest=${rest#* - }
		held="$point ${rest%% *}"
		case $(readlink -f "/sys/dev/block/$number") in
		*/ram[0-9]* | */zram[0-9]*) held="$point ramdisk" ;;
		esac
		;;
	esac
done </proc/self/mountinfo
[ -z "$ro" ] || echo "root-ro 1"
[ -z "$held" ] || echo "modules-on $held"
if command -v zstd >/dev/null; then
	echo "zstd 1"
else
	command -v gzip >/dev/null || echo "lacks gzip"
fi
evidence() {
	if [ -e "$boot_at/$1" ] && grep -q -a -F -e "$2" "$boot_at/$1" 2>/dev/null; then
		echo "evidence $1"
	fi
}
state() {
	[ ! -e "$boot_at/$1" ] || echo "state $1 $(od -An -v -tx1 "$boot_at/$1" | tr -d ' \n')"
}
# $1, a file of the image's own kernel while that runs, as the board has it now; $2 is what a deployment calls it.
image_file() {
	[ -z "$running" ] && [ -f "$boot_at/$1" ] || return 0
	sum=$(sha256sum <"$boot_at/$1") && echo "base-file ${sum%% *}  $2"
}
# Whether deployment $1 has its boot files, and the kernel that they name.
bootable() {
	[ -d "$boot_at/bimg/$1" ] || return
	script=$boot_at/bimg/$1/boot.scr
	[ ! -e "$script" ] || [ -d "$boot_at/$(grep -a -o 'bimg/kernels/[0-9a-f]*' "$script" | head -n 1)" ]
}
# Whether this is the name of a deployment. What else lies there is somebody else's.
ours() {
	case $1 in
	*[!0-9a-f]*) return 1 ;;
	????????????) ;;
	*) return 1 ;;
	esac
}
list() {
	for dir in "$store"/*/; do
		dir=${dir%/}
		id=${dir##*/}
		ours "${id%.partial}" || continue
		case $id in
		*.partial)
			echo "partial $id"
			continue
			;;
		esac
		echo "deployment $id"
		# One that was cut off has no end of line.
		[ ! -r "$dir/info" ] || { sed 's/^/info /' "$dir/info" && echo; }
		[ ! -r "$dir/good" ] || echo "good $(tr '\n' ' ' <"$dir/good")"
		[ ! -r "$dir/log" ] || echo "log 1"
		bootable "$id" || echo "boot-missing 1"
	done
	[ ! -r "$store/image/good" ] || echo "image-good $(sed -n 2p "$store/image/good")"
	for dir in "$boot_at"/bimg/kernels/*/; do
		dir=${dir%/}
		[ -d "$dir" ] || continue
		echo "kernel ${dir##*/}"
		named "${dir##*/}" || echo "kernel-unused ${dir##*/}"
	done
	for dir in "$boot_at"/bimg/*/; do
		dir=${dir%/}
		id=${dir##*/}
		! ours "${id%.partial}" || [ -d "$store/$id" ] || echo "boot-only $id"
	done
}
# Lines of `files` about what begins with $1, whatever became of the others.
noted() { grep -a -e "^[0-9a-f]\{64\}  $1" files 2>/dev/null; }
all_noted() { [ "$(noted modules/ | cut -c 67- | sort)" = "$(find modules -type f | sort)" ]; }
# What the new deployment may take over: of the running one, or of the kernel that came with the image.
base() {
	if [ -n "$running" ]; then
		echo "base $running"
		# Of one that is gone nothing is taken over: the image's kernel is another.
		cd "$store/$running" 2>/dev/null || return 0
		{
			if stamp | cmp -s - stamp && all_noted; then
				noted modules/
			else
				find modules -type f -print0 | hash_files
			fi
			[ ! -f config ] || sha256sum config
			noted boot/
			noted kernel/
		} | sed 's/^/base-file /'
	elif cd "/lib/modules/$(uname -r)" 2>/dev/null; then
		find . -type f -print0 | hash_files | sed 's|  \./|  modules/|; s/^/base-file /'
	fi
	cd /
}
