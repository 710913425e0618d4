# What a board says of itself briefly.
echo "machine $(uname -m)"
echo "release $(uname -r)"
printf 'version %s\n' "$(uname -v)"
echo "boot-id $boot"
# `echo` makes two lines of `\n` in some shells.
printf 'cmdline %s\n' "$(cat /proc/cmdline)"
