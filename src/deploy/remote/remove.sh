# Removes deployments, or what is left of some: each argument is an ID.
boot_open rw
for id; do
	# Half removed is a leftover, not a deployment.
	[ ! -d "$store/$id" ] || { rm -rf "$store/$id.partial" && mv "$store/$id" "$store/$id.partial"; } || exit
	[ ! -d "$boot_at/bimg/$id" ] || {
		rm -rf "$boot_at/bimg/$id.partial" && mv "$boot_at/bimg/$id" "$boot_at/bimg/$id.partial"
	} || exit
	sync
	rm -rf "$store/$id.partial" "$boot_at/bimg/$id.partial" || exit
done
sync
