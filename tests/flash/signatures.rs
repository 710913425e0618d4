//! Signatures of an image and of what lies beside it.

use super::*;

pub fn sign(project: &Project, pair: &minisign::KeyPair, file: &str) {
    let data = std::fs::read(project.path(file)).unwrap();
    let signature = minisign::sign(None, &pair.sk, data.as_slice(), Some("release 1"), None).unwrap();
    project.write(&format!("{file}.minisig"), &signature.into_string());
}

pub fn key(project: &Project) -> minisign::KeyPair {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    project.write("my.pub", &pair.pk.to_box().unwrap().to_string());
    pair
}

/// Exit status, stderr without the key's number, stdout's last line.
fn run(project: &Project, pair: &minisign::KeyPair, args: &[&str]) -> Outcome {
    let number = pair.pk.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().concat();
    let outcome = flash(project, args);
    Outcome {
        stdout: outcome.stdout.replace(&number, "ID"),
        stderr: outcome.stderr.replace(&number, "ID"),
        ..outcome
    }
}

#[test]
fn of_the_image() {
    let project = plain();
    let pair = key(&project);
    sign(&project, &pair, "images/x.img");
    let outcome = run(&project, &pair, &["--key", "my.pub", "images/x.img", "card.img"]).ok();
    assert!(outcome.stdout.ends_with("\n  signed with the key ID: release 1\n"), "{}", outcome.stdout);
    project.shell("cmp images/x.img card.img && rm card.img");
    project.shell("printf x | dd of=images/x.img bs=1 seek=2000000 conv=notrunc status=none");
    assert_fails(
        &run(&project, &pair, &["--key", "my.pub", "images/x.img", "card.img"]),
        1,
        "error: `images/x.img` is not what was signed\n  \
         caused by: `images/x.img.minisig` does not fit, with the key ID (`my.pub`)\n\n\
         hint: fetch both again from where they came; do not use them as they are\n",
    );
    assert!(!project.path("card.img").exists(), "something was written");
}

#[test]
fn of_the_sums() {
    let project = built();
    let pair = key(&project);
    sign(&project, &pair, "out/acme/SHA256SUMS");
    let args = ["--key", "my.pub", "out/acme/acme.img", "card.img"];
    let outcome = run(&project, &pair, &args).ok();
    assert!(outcome.stdout.ends_with("\n  signed with the key ID: release 1\n"), "{}", outcome.stdout);
    project.shell("rm card.img; echo >> out/acme/SHA256SUMS");
    assert_fails(
        &run(&project, &pair, &args),
        1,
        "error: `out/acme/SHA256SUMS` is not what was signed\n  \
         caused by: `out/acme/SHA256SUMS.minisig` does not fit, with the key ID (`my.pub`)\n\n\
         hint: fetch both again from where they came; do not use them as they are\n",
    );
}

#[test]
fn what_is_no_signature() {
    let project = plain();
    project.write("images/x.img.minisig", "a\nb\nc\nd\n");
    assert_fails(
        &flash(&project, &["images/x.img", "card.img"]),
        1,
        "error: cannot check the signature of the image\n  \
         caused by: `images/x.img.minisig` is no minisign signature\n  \
         caused by: the signature of its comment has not 64 bytes\n",
    );
    assert!(!project.path("card.img").exists());
}

#[test]
fn none_where_one_is_asked_for() {
    let project = plain();
    key(&project);
    assert_fails(
        &flash(&project, &["--key", "my.pub", "images/x.img", "card.img"]),
        1,
        "error: `images/x.img` is not signed\n  caused by: beside it is neither `SHA256SUMS.minisig` \
         for a `SHA256SUMS` that lists it, nor `x.img.minisig`\n",
    );
    assert_fails(
        &flash(&project, &["--key", "my.pub", "-", "card.img"]),
        1,
        "error: `standard input` is not signed\n  caused by: standard input has nothing beside it\n",
    );
}

#[test]
fn sums_that_do_not_list_the_image_say_nothing_about_it() {
    let project = plain();
    let pair = key(&project);
    project.shell("cd images && sha256sum /dev/null > SHA256SUMS");
    sign(&project, &pair, "images/SHA256SUMS");
    let outcome = flash(&project, &["--key", "my.pub", "images/x.img", "card.img"]);
    assert!(outcome.stderr.starts_with("error: `images/x.img` is not signed\n"), "{}", outcome.stderr);
}

#[test]
fn a_block_map_that_nobody_signed_says_nothing() {
    let project = built();
    let pair = key(&project);
    project.shell("mkdir images && cp out/acme/acme.img out/acme/acme.img.bmap images");
    sign(&project, &pair, "images/acme.img");
    let outcome = flash(&project, &["--key", "my.pub", "images/acme.img", "card.img"]).ok();
    assert!(
        outcome.stderr.contains("`images/acme.img.bmap` is not used: it is not signed\n"),
        "{}",
        outcome.stderr
    );
    project.shell("cmp images/acme.img card.img");
}

#[test]
fn keys_that_are_trusted_and_keys_that_are_not() {
    let project = plain();
    let pair = key(&project);
    sign(&project, &pair, "images/x.img");
    let outcome = flash(&project, &["images/x.img", "card.img"]).ok();
    assert!(
        outcome.stderr.starts_with(
            "warning: `images/x.img.minisig` was not checked: its key is not trusted; `--key FILE` trusts one\n"
        ),
        "{}",
        outcome.stderr
    );
    project.shell("mkdir -p ../home/.config/bimg/keys && mv my.pub ../home/.config/bimg/keys");
    let outcome = run(&project, &pair, &["--yes", "images/x.img", "card.img"]).ok();
    assert!(outcome.stdout.ends_with("\n  signed with the key ID: release 1\n"), "{}", outcome.stdout);
    project.shell("printf x | dd of=images/x.img bs=1 seek=2000000 conv=notrunc status=none");
    let outcome = flash(&project, &["--yes", "images/x.img", "card.img"]);
    assert!(
        outcome.stderr.starts_with("error: `images/x.img` is not what was signed\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_is_no_key() {
    let project = plain();
    assert_fails(
        &flash(&project, &["--key", "boards/acme.toml", "images/x.img", "card.img"]),
        2,
        "error: `boards/acme.toml` is no minisign public key\n  \
         caused by: Base64 conversion failed - was an actual public key given?\n\n\
         hint: `bimg image keygen` makes a pair of keys; the file that ends in `.pub` is meant\n",
    );
}
