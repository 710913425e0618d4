# Replaces the running module $1 by the one on stdin, gzipped, and the modules that use it; $2... are those it needs.
name=$1
shift
mkdir -p "$run"
file=$run/$name.ko
gzip -dc >"$file" || die "the module did not arrive"
[ ! -d "/sys/module/$name" ] || [ -e "/sys/module/$name/initstate" ] || die "$name is built into the running kernel"
order=''
unload() {
	for holder in "/sys/module/$1/holders"/*; do
		[ -e "$holder" ] || continue
		unload "${holder##*/}"
	done
	[ -e "/sys/module/$1/initstate" ] || return 0
	rmmod "$1" 2>"$run/error" || {
		reload
		die "$1 cannot be unloaded: $(tail -n 1 "$run/error")"
	}
	[ "$1" = "$name" ] || order="$1 $order"
}
reload() {
	for module in $order; do
		modprobe "$module" 2>"$run/error" || die "$module cannot be loaded again: $(tail -n 1 "$run/error")"
	done
}
# What the kernel said from the mark on, which may be its first line.
since() { sed -n "/${mark##* }/,\$p" | sed 1d; }
mark="bimg: module $name $(cat /proc/sys/kernel/random/uuid 2>/dev/null || date +%s)"
{ echo "$mark" >/dev/kmsg; } 2>/dev/null || mark=''
unload "$name"
for module; do
	modprobe "$module" 2>/dev/null || :
done
insmod "$file" 2>"$run/error" || {
	why=$(tail -n 1 "$run/error")
	[ -z "$mark" ] || dmesg | since >&2
	modprobe "$name" 2>/dev/null
	reload
	die "$name cannot be loaded: $why"
}
reload
[ -z "$order" ] || echo "reloaded $order"
[ -z "$mark" ] || dmesg | since | sed 's/^/dmesg /'
