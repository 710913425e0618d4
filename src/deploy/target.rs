//! stub
use crate::boot::SlotId;
/// stub
pub fn init_script(_release: &str, _id: &SlotId, _real: &str) -> String {
    String::new()
}
