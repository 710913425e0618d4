//! stub
use crate::boot::SlotId;
/// stub
pub fn init_script(release: &str, id: &SlotId, real: &str) -> String {
    include_str!("target/init")
        .replace("@RELEASE@", release)
        .replace("@ID@", id.as_str())
        .replace("@INIT@", real)
}
