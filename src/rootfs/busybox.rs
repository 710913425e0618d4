//! The applets of a busybox binary, without running it: it is foreign code.
//!
//! busybox keeps their names in one table, `applet_names`: sorted, each ended by a NUL, the table by an
//! empty name (`include/applet_tables.h` of its source).

/// The applets a busybox binary offers; `None` when the table is not found.
pub fn applets(binary: &[u8]) -> Option<Vec<&str>> {
    // What lies before the table need not be text, nor end with a NUL.
    let start = find(binary, b"[\0[[\0").or_else(|| find(binary, b"\0ash\0").map(|nul| nul + 1))?;
    let mut names: Vec<&str> = Vec::new();
    for name in binary[start..].split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else { break };
        let plain = |c: char| c.is_ascii_alphanumeric() || "[-_.".contains(c);
        // Sorted without exception: what follows the table may look like a name as well.
        if name.is_empty() || !name.chars().all(plain) || names.last().is_some_and(|last| *last >= name) {
            break;
        }
        names.push(name);
    }
    names.contains(&"sh").then_some(names)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ends_where_its_order_does() {
        let binary = b"\x7fELF....\0[\0[[\0ash\0cat\0sh\0zcat\0\0abc\0";
        assert_eq!(applets(binary).unwrap(), ["[", "[[", "ash", "cat", "sh", "zcat"]);
        let binary = b"..\0ash\0cat\0sh\0Unknown applet\0";
        assert_eq!(applets(binary).unwrap(), ["ash", "cat", "sh"]);
        let binary = b"\xc0\xae [\0[[\0ash\0cat\0sh\0\0";
        assert_eq!(applets(binary).unwrap(), ["[", "[[", "ash", "cat", "sh"]);
        assert_eq!(applets(b"nothing here"), None);
    }

    #[test]
    fn the_table_of_this_machines_busybox_is_what_it_says() {
        let Some(path) = crate::exec::which("busybox") else { return };
        let binary = std::fs::read(&path).unwrap();
        let listed = crate::exec::Cmd::new(&path).arg("--list").check().unwrap().text();
        assert_eq!(applets(&binary).unwrap(), listed.lines().collect::<Vec<_>>());
    }
}
