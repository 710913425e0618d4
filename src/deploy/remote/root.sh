# Takes a deployment's files of the root filesystem: a gzipped tar on stdin.
# $1 ID, $2 its release, $3 directory of modules that are taken over as far as they are equal (or empty)
boot_undo=''
writing
dir=$store/$1.partial
mkdir -p "$dir/sent" || die "cannot make $dir"
gzip -dc | tar -x -f - -C "$dir/sent" || die "what arrived cannot be unpacked below $dir"
from_card
(cd "$dir/sent" && sha256sum -c .sums >"$dir/checked" 2>&1) ||
	die "what arrived is not what was sent: $(grep -v ': OK$' "$dir/checked" | head -n 3 | tr '\n' ' ')"
rm -rf "$dir/new"
mkdir -p "$dir/new/modules"
if [ -n "$3" ]; then
	# Second names, not copies; files of a deployment are never changed in place.
	cp -al "$3/." "$dir/new/modules/" || die "cannot link the modules of $3"
	(cd "$dir/new" && while IFS= read -r path; do rm -rf "./$path"; done <../sent/.remove)
fi
cp -al "$dir/sent/." "$dir/new/" || die "cannot put the deployment together"
cd "$dir/new" || die "cannot enter $dir/new"
rm -f .sums .remove
find . -type f | sed 's|^\./||' | grep -v -e '^files$' -e '^info$' | sort >../there
sed -n 's/^[0-9a-f]*  //p' files | grep -v '^boot/' | sort | cmp -s - ../there ||
	die "the deployment came out with other files than it should"
stamp >../stamp && mv ../stamp stamp
# Where its init binds its modules.
mkdir -p "/lib/modules/$2" || die "cannot make /lib/modules/$2"
sync
mv "$dir/new" "$store/$1" || die "cannot rename $dir/new"
rm -rf "$dir"
sync
