use super::*;
use crate::kernel::{Fragment, config};
use std::path::Path;

/// Text in the style of the kernel's own files.
const KCONFIG: &str = r#"
mainmenu "Linux/$(ARCH) $(KERNELVERSION) Kernel Configuration"

source "arch/$(SRCARCH)/Kconfig"

config MODULES
	bool "Enable loadable module support"
	modules
	help
	  Kernel modules are small pieces of compiled code.

	  config NOT_A_SYMBOL is help text.

menuconfig USB_SUPPORT
	bool "USB support"
	depends on HAS_IOMEM
	default y

if USB_SUPPORT

config USB
	tristate "Support for Host-side USB"
	depends on USB_ARCH_HAS_HCD
	select CRC16 if NLS

config USB_STORAGE
	tristate "USB Mass Storage support"
	depends on USB && SCSI && \
		(PCI || ARM_AMBA)

endif # USB_SUPPORT

menu "Storage"
	depends on BLOCK && !UML

config SCSI
	tristate "SCSI device support"
	select SG_POOL

config SG_POOL
	bool

config QUEUE_DEPTH
	int "Queue depth"
	range 2 64
	default 16

endmenu

config BLOCK
	bool "Enable the block layer" if EXPERT
	default y

choice
	prompt "Preemption"
	default PREEMPT_NONE

config PREEMPT_NONE
	bool "No forced preemption"

config PREEMPT
	bool "Preemptible kernel"

endchoice

config STACKPROTECTOR
	bool "Stack protector"
	depends on $(cc-option,-fstack-protector)
"#;

const ARCH: &str = "config ARM64\n\tdef_bool y\n\nconfig HAS_IOMEM\n\tbool\n";

fn tree() -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        crate::fsx::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("Kconfig", KCONFIG);
    write("arch/arm64/Kconfig", ARCH);
    Tree::load(dir.path(), "arm64").unwrap()
}

fn explained(set: &str, config: &str) -> String {
    let requests = config::requests(&[], &[set.to_string()]).unwrap();
    let explanation = explain(&tree(), &requests[0], &requests, &Values::parse(config));
    match explanation.hint {
        Some(hint) => format!("{}\nhint: {hint}", explanation.why),
        None => explanation.why,
    }
}

#[test]
fn reads_the_language() {
    let tree = tree();
    assert!(!tree.symbols.contains_key("NOT_A_SYMBOL"));
    let storage = &tree.symbols["USB_STORAGE"][0];
    assert_eq!(storage.place, "Kconfig:26");
    assert_eq!(
        storage.depends.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["USB_SUPPORT", "USB && SCSI && (PCI || ARM_AMBA)"]
    );
    assert_eq!(tree.symbols["SCSI"][0].depends[0].to_string(), "BLOCK && !UML");
    assert_eq!(tree.choices, [["PREEMPT_NONE", "PREEMPT"]]);
}

#[test]
fn unmet_dependencies_are_named() {
    assert_eq!(
        explained("CONFIG_USB_STORAGE=y", "CONFIG_USB_SUPPORT=y\nCONFIG_USB=y\n"),
        "became `n`: it depends on `USB && SCSI && (PCI || ARM_AMBA)` (Kconfig:26), and `SCSI` is n, \
         none of `PCI`, `ARM_AMBA` holds\nhint: ask for `CONFIG_SCSI=y` as well, or drop the request"
    );
    assert_eq!(
        explained(
            "CONFIG_USB_STORAGE=y",
            "CONFIG_USB_SUPPORT=y\nCONFIG_USB=y\nCONFIG_SCSI=m\nCONFIG_PCI=y\nCONFIG_USB_STORAGE=m\n"
        ),
        "became `m`: it depends on `USB && SCSI && (PCI || ARM_AMBA)` (Kconfig:26), and `SCSI` is m\n\
         hint: ask for `CONFIG_SCSI=y` as well, or drop the request"
    );
    assert_eq!(
        explained("CONFIG_USB_SUPPORT=y", ""),
        "became `n`: it depends on `HAS_IOMEM` (Kconfig:14), and `HAS_IOMEM` is n\nhint: `CONFIG_HAS_IOMEM` \
         cannot be set by hand: it follows from the architecture, the compiler or other options"
    );
    assert_eq!(
        explained("CONFIG_USB=y", "CONFIG_USB_SUPPORT=y\n"),
        "became `n`: it depends on `USB_ARCH_HAS_HCD` (Kconfig:21), and `USB_ARCH_HAS_HCD` is n\nhint: \
         `CONFIG_USB_ARCH_HAS_HCD` does not exist for this architecture: drop the request"
    );
}

#[test]
fn unknown_symbols_get_the_nearest() {
    assert_eq!(
        explained("CONFIG_USB_STORGE=y", ""),
        "is no option of this kernel\nhint: nearest to `CONFIG_USB_STORGE`: `CONFIG_USB_STORAGE`"
    );
}

#[test]
fn selects_prompts_choices_and_ranges() {
    assert_eq!(
        explained("CONFIG_SG_POOL=n", "CONFIG_SCSI=y\nCONFIG_SG_POOL=y\nCONFIG_BLOCK=y\n"),
        "became `y`: selected by `CONFIG_SCSI=y`\nhint: turn off what selects `CONFIG_SG_POOL`, or drop the request"
    );
    assert_eq!(
        explained("CONFIG_SG_POOL=y", "CONFIG_BLOCK=y\n"),
        "became `n`: it has no prompt (Kconfig:40), only other options can set it\nhint: it is selected by `CONFIG_SCSI`"
    );
    assert_eq!(
        explained("CONFIG_BLOCK=n", "CONFIG_BLOCK=y\n"),
        "became `y`: it can be set only if `EXPERT` (Kconfig:50), and `EXPERT` is n\nhint: `CONFIG_EXPERT=y` makes it settable"
    );
    assert_eq!(
        explained("CONFIG_PREEMPT=y", "CONFIG_PREEMPT_NONE=y\n"),
        "became `n`: only one option of a choice can be set, and it is `CONFIG_PREEMPT_NONE` (Kconfig:61)\n\
         hint: ask for `CONFIG_PREEMPT_NONE=n` nowhere and for one option of the choice only"
    );
    assert_eq!(
        explained("CONFIG_QUEUE_DEPTH=100", "CONFIG_BLOCK=y\nCONFIG_QUEUE_DEPTH=16\n"),
        "became `16`: its range is 2 to 64 (Kconfig:43)"
    );
    assert_eq!(
        explained("CONFIG_SCSI=m", "CONFIG_BLOCK=y\nCONFIG_SCSI=y\n"),
        "became `y`: `CONFIG_MODULES` is n, so nothing can be a module\nhint: `CONFIG_MODULES=y` is needed for `=m`"
    );
    assert_eq!(explained("CONFIG_BLOCK=m", "CONFIG_BLOCK=y\n"), "became `y`: it is a bool: `y` or `n`");
    assert_eq!(
        explained("CONFIG_STACKPROTECTOR=y", ""),
        "became `n`: see Kconfig:66\nhint: a dependency may ask the compiler; `make menuconfig` shows it"
    );
}

#[test]
fn a_later_layer_overrides_an_option_of_a_choice_and_the_same_layer_does_not() {
    let fragment = |name: &str, text: &str| Fragment { name: name.to_string(), text: text.to_string() };
    let none = fragment("a.config", "CONFIG_PREEMPT_NONE=y\n");
    let preempt = fragment("b.config", "CONFIG_PREEMPT=y\n");
    let values = Values::parse("CONFIG_PREEMPT=y\nCONFIG_BLOCK=y\n");
    // The first request is the one that did not come true.
    let is_overridden = |fragments: &[Fragment], sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let requests = config::requests(fragments, &sets).unwrap();
        super::is_overridden(&tree(), &requests[0], &requests, &values)
    };
    assert!(is_overridden(&[none.clone(), preempt.clone()], &[]));
    assert!(is_overridden(std::slice::from_ref(&none), &["CONFIG_PREEMPT=y"]));
    // Only what was asked for overrides, and only within the choice.
    assert!(!is_overridden(std::slice::from_ref(&none), &["CONFIG_BLOCK=y"]));
    assert!(!is_overridden(&[fragment("a.config", "CONFIG_SCSI=y\n"), preempt.clone()], &[]));
    // That it is on although `n` was asked for is an error whatever else was asked for.
    assert!(!is_overridden(&[fragment("a.config", "# CONFIG_PREEMPT_NONE is not set\n"), preempt], &[]));

    let both = "CONFIG_PREEMPT_NONE=y\nCONFIG_PREEMPT=y\n";
    let sets = ["CONFIG_PREEMPT_NONE=y", "CONFIG_PREEMPT=y"];
    assert!(!is_overridden(&[fragment("a.config", both)], &[]));
    assert!(!is_overridden(&[], &sets));
    let requests = config::requests(&[none, fragment("b.config", both)], &[]).unwrap();
    let explanation = explain(&tree(), &requests[0], &requests, &values);
    assert_eq!(
        explanation.why,
        "became `n`: only one option of a choice can be set, and it is `CONFIG_PREEMPT` (Kconfig:58)"
    );
    assert_eq!(
        explanation.hint.unwrap(),
        "both `CONFIG_PREEMPT_NONE=y` (b.config:1) and `CONFIG_PREEMPT=y` (b.config:2) are asked for: keep one of them"
    );
}

/// The real thing, where a kernel tree is at hand (`BIMG_TEST_KERNEL`).
#[test]
fn reads_a_whole_kernel() {
    let Some(source) = std::env::var_os("BIMG_TEST_KERNEL") else { return };
    let tree = Tree::load(Path::new(&source), "arm64").unwrap();
    assert!(tree.symbols.len() > 10_000);
    let places = |name: &str| tree.symbols[name].iter().map(|d| d.place.clone()).collect::<Vec<_>>();
    assert_eq!(places("EXT4_FS")[0].split(':').next(), Some("fs/ext4/Kconfig"));
    assert!(!tree.symbols.contains_key("X86"));
}
