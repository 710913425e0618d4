# Takes what is left of a deployment's files of the root filesystem, a packed tar on stdin, and puts it together.
# $1 ID, $2 program that unpacks, $3 its release, $4 directory of modules that are taken over as far as they are equal (or empty)
writing
dir=$store/$1.partial
mkdir -p "$dir/sent" || die "cannot make $dir"
# Earlier ones would vouch for what has not arrived.
rm -f "$dir/sent/.sums" "$dir/sent/.remove" "$dir/sent/.halves"
unpack "$dir/sent" "$2"
cd "$dir/sent" || die "cannot enter $dir/sent"
check .sums
rm -rf "$dir/new"
new=$dir/sent
if [ -n "$4" ]; then
	new=$dir/new
	mkdir -p "$new/modules" || die "cannot make $new"
	# Second names, not copies; files of a deployment are never changed in place.
	cp -al "$4/." "$new/modules/" || die "cannot link the modules of $4"
	# Links would be in the way, or lead out of it.
	find "$new/modules" ! -type d ! -type f -exec rm -f {} + || die "cannot take away links in $new"
	(cd "$new" && while IFS= read -r path; do rm -rf "./$path"; done <../sent/.remove) ||
		die "cannot take away what differs from $4"
	# What an earlier attempt brought of a file that is linked now.
	while IFS= read -r path; do rm -f "./$path"; done <.halves || die "cannot put halves away in $dir/sent"
	# The configuration, unless it is another.
	[ -e config ] || ln "${4%/*}/config" "$new/" || die "cannot link the configuration of $4"
	cp -al "$dir/sent/." "$new/" || die "cannot put the deployment together"
fi
cd "$new" || die "cannot enter $new"
mkdir -p modules
# An interrupted deploy may have left `stamp`.
rm -f .sums .sums.* .remove .halves stamp
find . -type f | sed 's|^\./||' | grep -v -e '^files$' -e '^info$' | sort >../there
sed -n 's/^[0-9a-f]*  //p' files | grep -v -e '^boot/' -e '^kernel/' | sort | cmp -s - ../there ||
	die "the deployment came out with other files than it should"
stamp >../stamp && mv ../stamp stamp
# Where its init binds its modules.
mkdir -p "/lib/modules/$3" || die "cannot make /lib/modules/$3"
sync
[ ! -e "$store/$1" ] || die "$store/$1 is there already"
mv "$new" "$store/$1" || die "cannot rename $new"
rm -rf "$dir"
sync
