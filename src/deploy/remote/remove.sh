# Removes deployments, or what is left of some, and kernels that no other one names.
# $1 kernel that stays (or empty); the rest are IDs
boot_open rw
root_open
needed=$1
shift
for id; do
	# Half removed is a leftover, not a deployment.
	[ ! -d "$store/$id" ] || { rm -rf "$store/$id.partial" && mv "$store/$id" "$store/$id.partial"; } || exit
	[ ! -d "$boot_at/bimg/$id" ] || {
		rm -rf "$boot_at/bimg/$id.partial" && mv "$boot_at/bimg/$id" "$boot_at/bimg/$id.partial"
	} || exit
	sync
	rm -rf "$store/$id.partial" "$boot_at/bimg/$id.partial" || exit
done
for kernel in "$boot_at"/bimg/kernels/*; do
	[ -e "$kernel" ] || continue
	name=${kernel##*/}
	case $name in
	"$needed" | "$needed.partial") continue ;;
	*.partial) ;;
	*)
		! named "$name" || continue
		rm -rf "$kernel.partial" && mv "$kernel" "$kernel.partial" || exit
		sync
		;;
	esac
	rm -rf "${kernel%.partial}.partial" || exit
done
# The place of the image's own kernel among those that were confirmed means nothing when there is no other.
others=''
for good in "$store"/*/good; do
	[ ! -e "$good" ] || [ "$good" = "$store/image/good" ] || others=1
done
[ -n "$others" ] || rm -rf "$store/image"
sync
