//! Deployments and state files of the chains that have them.

use super::*;

use crate::boot::config_txt::choose_trial;

fn slot(id: &str) -> SlotId {
    id.parse().unwrap()
}

fn dirs(id: &str) -> SlotDirs {
    SlotDirs { id: slot(id), kernel: slot("cafecafecafe") }
}

#[test]
fn deployments_have_twelve_digits() {
    assert_eq!(slot("0123456789ab").dir(), "bimg/0123456789ab/");
    for bad in ["", "0123456789a", "0123456789abc", "0123456789AB", "0123456789a/", "..", "0123456789aé"] {
        bad.parse::<SlotId>().unwrap_err();
    }
    assert_eq!(
        "../../etc/x\n".parse::<SlotId>().unwrap_err().to_string(),
        "`../../etc/x\\n` is not the name of a deployment\n\nhint: it has 12 lower-case hex digits"
    );
}

/// Every state that there is comes back as it was written, in sectors.
fn round_trips(slots: &dyn Slots) {
    let ids = [None, Some(slot("0123456789ab")), Some(slot("ffffffffffff"))];
    for default in &ids {
        for trial in &ids {
            let state = SlotState { default: default.clone(), trial: trial.clone() };
            let written: BTreeMap<&str, Vec<u8>> = slots.state(&state).into_iter().collect();
            assert!(written.values().all(|bytes| bytes.len() == 512));
            assert_eq!(slots.parse(&|path| written.get(path).cloned()), Some(state));
            for (name, bytes) in &written {
                let with = |content: Option<Vec<u8>>| {
                    slots.parse(&|path| {
                        if path == *name { content.clone() } else { written.get(path).cloned() }
                    })
                };
                assert_eq!(with(None), None, "without {name}");
                assert_eq!(with(Some(bytes[..511].to_vec())), None);
                assert_eq!(with(Some(vec![0xff; 512])), None);
                assert_eq!(with(Some(vec![0; 512])), None);
                assert_eq!(with(Some(Vec::new())), None);
            }
        }
    }
}

#[test]
fn the_state_of_a_boot_script_is_an_environment() {
    let spec = BootSpec::new(ChainName::UbootScript);
    let chain = chain(&spec).unwrap();
    let slots = chain.slots().unwrap();
    round_trips(slots.as_ref());
    let state = SlotState { default: Some(slot("aaaaaaaaaaaa")), trial: Some(slot("bbbbbbbbbbbb")) };
    let mut sector = slots.state(&state).remove(0).1;
    let text = String::from_utf8(sector.clone()).unwrap();
    let (lines, padding) = text.split_at(text.find("###").unwrap());
    assert_eq!(
        lines,
        "bimg_trial=bbbbbbbbbbbb\nbimg_default=aaaaaaaaaaaa\nbimg_trial=none\n\
         # bimg state 1: rewritten in place by `bimg deploy`, the first byte by boot.scr\n"
    );
    assert!(padding.lines().all(|line| line.len() < 64 && line.bytes().all(|b| b == b'#')), "{padding}");
    // What boot.scr makes of it.
    sector[0] = b'#';
    assert_eq!(
        slots.parse(&|_| Some(sector.clone())),
        Some(SlotState { default: Some(slot("aaaaaaaaaaaa")), trial: None })
    );
}

#[test]
fn a_deployment_brings_its_own_boot_scripts() {
    let spec = BootSpec::new(ChainName::UbootScript);
    let mut input = input(Arch::Arm64, "Image");
    input.dtbs = vec![dtb("a/b.dtb")];
    let chain = chain(&spec).unwrap();
    let slots = chain.slots().unwrap();
    let list = slots.files(&input, &dirs("0123456789ab"), "root=/dev/x panic=10").unwrap();
    let paths: Vec<&str> = list.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "bimg/0123456789ab/boot.scr",
            "bimg/0123456789ab/trial.scr",
            "bimg/kernels/cafecafecafe/Image",
            "bimg/kernels/cafecafecafe/dtbs/a/b.dtb",
        ]
    );
    let text = |name: &str| {
        let mut bytes = Vec::new();
        let file = list.iter().find(|file| file.path.name() == name).unwrap();
        file.content.open().unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes[uimage::HEADER_LEN + 8..].to_vec()).unwrap()
    };
    assert_eq!(
        text("trial.scr"),
        r#"# Run by the image's boot.scr; made by bimg.
echo "bimg: Linux 6.12.48 from ${devtype} ${devnum}:${distro_bootpart}"
setenv bimg_kernel 'bimg/kernels/cafecafecafe/Image'
setenv bootargs 'root=/dev/x panic=10'
setenv bimg_fdt 'bimg/kernels/cafecafecafe/dtbs/a/b.dtb'
if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ${prefix}${bimg_kernel} && load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} ${prefix}${bimg_fdt}; then
  booti ${kernel_addr_r} - ${fdt_addr_r}
fi
echo "bimg: cannot boot ${prefix}${bimg_kernel}"
"#
    );
    assert_eq!(
        text("boot.scr"),
        text("trial.scr").replace("root=/dev/x panic=10", "root=PARTUUID=1234-02 rootwait console=ttyAMA0")
    );
    assert_eq!(
        slots.files(&input, &dirs("0123456789ab"), "a='b'").unwrap_err().to_string(),
        "a U-Boot script cannot hold `a='b'`\n  caused by: U-Boot's shell has no way to quote `'`\n\n\
         hint: use `\"`, which the kernel understands too"
    );
}

#[test]
fn the_firmware_of_a_raspberry_pi_follows_its_state_files() {
    let dir = firmware_dir();
    let firmware = rpi(dir.path());
    let (spec, mut input) = rpi4(&firmware);
    let image = files(&spec, &input);
    let chain = chain(&spec).unwrap();
    let slots = chain.slots().unwrap();
    round_trips(slots.as_ref());

    let (old, new) = (slot("aaaaaaaaaaaa"), slot("bbbbbbbbbbbb"));
    let mut card = Memory(image);
    for id in [&old, &new] {
        input.cmdline = format!("bimg_deploy={id}");
        for file in slots.files(&input, &dirs(id.as_str()), &format!("bimg_deploy={id} panic=10")).unwrap() {
            card.0.insert(file.path.as_str().to_string(), Vec::from(*b""));
            let mut bytes = Vec::new();
            file.content.open().unwrap().read_to_end(&mut bytes).unwrap();
            card.0.insert(file.path.as_str().to_string(), bytes);
        }
    }
    let mut say = |default: Option<&SlotId>, trial: Option<&SlotId>| {
        let state = SlotState { default: default.cloned(), trial: trial.cloned() };
        card.0.extend(slots.state(&state).into_iter().map(|(path, bytes)| (path.to_string(), bytes)));
        let normal = choose(&card, Model::Pi4B).unwrap();
        let trial = choose_trial(&card, Model::Pi4B).unwrap().unwrap();
        assert!(normal.overlays == trial.overlays && normal.overlays[0].path == "overlays/i2c-rtc.dtbo");
        [normal, trial].map(|choice| format!("{} {} {}", choice.kernel, choice.dtb.unwrap(), choice.cmdline))
    };
    let own = "kernel8.img bcm2711-rpi-4-b.dtb root=PARTUUID=1234-02 rootwait console=ttyAMA0";
    let of = |id: &SlotId| {
        let dir = id.dir();
        format!("{dir}kernel8.img {dir}bcm2711-rpi-4-b.dtb bimg_deploy={id}")
    };
    assert_eq!(say(None, None), [own, own]);
    assert_eq!(say(None, Some(&new)), [own.to_string(), of(&new) + " panic=10"]);
    assert_eq!(say(Some(&old), Some(&new)), [of(&old), of(&new) + " panic=10"]);
    assert_eq!(say(Some(&old), None), [of(&old), of(&old)]);
    // Half a deployment, and none at all: the image's own kernel.
    card.0.remove("bimg/bbbbbbbbbbbb/bcm2711-rpi-4-b.dtb");
    card.0.extend(
        slots
            .state(&SlotState { default: Some(slot("cccccccccccc")), trial: Some(new) })
            .into_iter()
            .map(|(path, bytes)| (path.to_string(), bytes)),
    );
    for choice in [choose(&card, Model::Pi4B).unwrap(), choose_trial(&card, Model::Pi4B).unwrap().unwrap()] {
        assert_eq!(format!("{} {} {}", choice.kernel, choice.dtb.unwrap(), choice.cmdline), own);
    }
}

#[test]
fn overlays_of_a_deployment_are_all_or_none() {
    let dir = firmware_dir();
    let firmware = rpi(dir.path());
    let (spec, mut input) = rpi4(&firmware);
    let chain = chain(&spec).unwrap();
    let slots = chain.slots().unwrap();
    let mut names = || {
        let list = slots.files(&input, &dirs("0123456789ab"), "quiet").unwrap();
        let names = list.iter().map(|file| file.path.as_str()["bimg/0123456789ab/".len()..].to_string());
        let names = names.collect::<Vec<_>>();
        input.overlays = vec![dtb("overlays/own.dtbo")];
        names
    };
    let shared = ["bcm2711-rpi-4-b.dtb", "cmdline-trial.txt", "cmdline.txt", "kernel8.img"];
    assert_eq!(names(), shared);
    let own = ["overlays/README", "overlays/i2c-rtc.dtbo", "overlays/own.dtbo", "overlays/vc4.dtbo"];
    assert_eq!(names(), [shared, own].concat());
}

#[test]
fn a_system_that_cannot_hand_on_the_argument_is_told_apart() {
    let spec = BootSpec::new(ChainName::RpiFirmware);
    let once = chain(&spec).unwrap().slots().unwrap().once().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let holds = |reboot: &str, vcio: bool| {
        // `reboot` is a link to what provides it, as systemd and busybox have it.
        let script = format!(
            "cd {}; rm -f vcio reboot; ln -s /bin/true systemctl 2>/dev/null; : >busybox; chmod +x busybox\n\
             ln -s {reboot} reboot; {}\nPATH=$PWD:$PATH\nif {}; then echo yes; else echo no; fi",
            dir.path().display(),
            if vcio { ": >vcio" } else { ":" },
            once.test.replace("/dev/vcio", "vcio")
        );
        Cmd::new("sh").args(["-c", &script]).check().unwrap().text()
    };
    assert_eq!(holds("systemctl", true), "yes\n");
    assert_eq!(holds("systemctl", false), "no\n");
    assert_eq!(holds("busybox", true), "no\n");
}
