# Replaces the running module $1 by the one on stdin, gzipped, and the modules that use it; $2... are those it needs.
name=$1
shift
writing
# Half done is worse than done.
trap '' HUP INT TERM PIPE
mkdir -p "$run/new"
cd "$run" || die "cannot enter $run"
file=new/$name.ko
gzip -dc >"$file" || die "the module did not arrive"
[ ! -d "/sys/module/$name" ] || [ -e "/sys/module/$name/initstate" ] || die "$name is built into the running kernel"
was='' order='' lost='' first=''
# What the board's configuration and the kernel's command line say for module $1: modprobe knows, or it is busybox's.
options() {
	{
		modprobe -c || {
			cat /etc/modprobe.conf /etc/modprobe.d/*.conf
			tr ' ' '\n' </proc/cmdline | sed 's/^\([^.=]*\)\./options \1 /'
		}
	} 2>/dev/null | sed -n "s/^options[[:space:]]*$(echo "$1" | sed 's/_/[-_]/g')[[:space:]]//p"
}
# Loads module $1 from file $2.
insert() {
	# shellcheck disable=SC2046
	insmod "$2" $(options "$1") 2>error
}
# Loads module $1: what this boot was given for it, or the board's own.
load() {
	if [ -e "$1.ko" ]; then insert "$1" "./$1.ko"; else modprobe "$1" 2>error; fi
}
# Why that failed; of a process that the kernel killed its shell says so.
why() { tail -n 1 error; }
# Whether module $1 crashed while it came or went. It stays so, and what asks for it waits.
stuck() {
	case $(cat "/sys/module/$1/initstate" 2>/dev/null) in coming | going) ;; *) return 1 ;; esac
}
unload() {
	for holder in "/sys/module/$1/holders"/*; do
		[ -e "$holder" ] || continue
		unload "${holder##*/}"
	done
	[ -e "/sys/module/$1/initstate" ] || return 0
	rmmod "$1" 2>error || fail "$1" "$1 cannot be unloaded: $(why)" "a process, a mount or another driver uses it, or it has no exit function"
	[ "$1" = "$name" ] || order="$1 $order"
}
reload() {
	for module in $order; do
		load "$module" || {
			first=${first:-"$module cannot be loaded again: $(why)"}
			lost="$lost $module"
		}
	done
}
# Ends with $2, and perhaps hint $3, after everything is loaded again that was. $1 is the module that failed.
fail() {
	if stuck "$1"; then
		said | grep -a -e BUG: -e Oops -e 'Unable to handle' | head -n 1 >&2
		die "$2" "it crashed, and the kernel cannot get rid of it: only a reboot helps"
	fi
	reload
	[ -z "$lost" ] || die "$2" "no longer loaded:$lost; a reboot loads what the board has"
	die "$2" "${3-}"
}
# What the kernel said from the mark on, which may be its first line.
since() { sed -n "/${mark##* }/,\$p" | sed 1d; }
said() { [ -z "$mark" ] || dmesg | since; }
mark="bimg: module $name $(cat /proc/sys/kernel/random/uuid 2>/dev/null || date +%s)"
{ echo "$mark" >/dev/kmsg; } 2>/dev/null || mark=''
[ ! -e "/sys/module/$name/initstate" ] || was=$name
unload "$name"
for module; do
	modprobe "$module" 2>/dev/null || :
done
insert "$name" "$file" || {
	stuck "$name" || said >&2
	order="$was $order"
	fail "$name" "$name cannot be loaded: $(why)"
}
mv "$file" .
reload
again=$order order=''
[ -z "$lost" ] || { said >&2 && fail "${first%% *}" "$first"; }
[ -z "$again" ] || echo "reloaded $again"
said | sed 's/^/dmesg /'
