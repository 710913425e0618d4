# Takes a part of a deployment's files of the root filesystem: a packed tar on stdin.
# $1 ID, $2 program that unpacks, $3 file in it with their hashes
writing
sent=$store/$1.partial/sent
mkdir -p "$sent" || die "cannot make $sent"
# An earlier one would vouch for what has not arrived.
rm -f "$sent/$3"
unpack "$sent" "$2"
cd "$sent" || die "cannot enter $sent"
check "$3"
