//! What a profile may write.

use super::super::Source;

fn parse(text: &str) -> Result<Source, String> {
    #[derive(Debug, serde::Deserialize)]
    struct Profile {
        source: Source,
    }
    toml::from_str::<Profile>(&format!("source = {text}"))
        .map(|profile| profile.source)
        .map_err(|error| error.message().to_string())
}

#[test]
fn each_kind_has_its_key_in_the_lock() {
    let sha = "a".repeat(64);
    for (text, asked) in [
        (r#"{ apt = "opensbi" }"#, "apt opensbi".to_string()),
        (
            r#"{ apt = "u-boot-rpi", suite = "trixie", component = "main", arch = "arm64", version = "1:2~3" }"#,
            "apt u-boot-rpi suite=trixie component=main arch=arm64 version=1:2~3".to_string(),
        ),
        // Packages for all architectures are in the index of the host's own.
        (r#"{ apt = "x", arch = "all" }"#, "apt x".to_string()),
        (&format!(r#"{{ tarball = "https://h/x.tar.xz", sha256 = "{sha}" }}"#), format!("tarball {sha}")),
        (r#"{ git = "../linux", rev = "v6.12" }"#, "git ../linux rev=v6.12".to_string()),
        (r#"{ path = "../linux" }"#, "path ../linux".to_string()),
        // A password is not part of what is asked for.
        (
            r#"{ git = "https://me:secret@h:1/x@y.git", rev = "v1" }"#,
            "git https://h:1/x@y.git rev=v1".to_string(),
        ),
        (r#"{ git = "ssh://git@h/x.git", rev = "v1" }"#, "git ssh://git@h/x.git rev=v1".to_string()),
    ] {
        assert_eq!(parse(text).unwrap().asked(), asked);
    }
}

#[test]
fn mistakes_are_named() {
    let sha = "a".repeat(64);
    for (text, message) in [
        ("{}", "a source needs one of `apt`, `tarball`, `git`, `path`"),
        (
            r#"{ apt = "x", path = "y" }"#,
            "a source has either `apt` or `path`; list two alternatives instead",
        ),
        (r#"{ apt = "x", rev = "y" }"#, "`rev` goes with `git`, not with `apt`"),
        (r#"{ path = "x", suite = "y" }"#, "`suite` goes with `apt`, not with `path`"),
        (r#"{ git = "x" }"#, "`git` needs `rev`: a tag, a branch or a full commit id"),
        (
            r#"{ git = "ext::sh -c reboot", rev = "x" }"#,
            "`ext::sh -c reboot` is not a repository URL or path",
        ),
        (r#"{ git = "--upload-pack=x", rev = "x" }"#, "`--upload-pack=x` is not a repository URL or path"),
        (r#"{ git = "x", rev = "--exec=y" }"#, "`--exec=y` is not a tag, branch or commit id"),
        (r#"{ tarball = "https://x" }"#, "`tarball` needs `sha256`, the SHA-256 of the archive"),
        (r#"{ tarball = "https://x", sha256 = "12" }"#, "`12` is not 64 hex digits"),
        (&format!(r#"{{ tarball = "ftp://x", sha256 = "{sha}" }}"#), "`ftp://x` is not an http or https URL"),
        (r#"{ apt = "-o=x" }"#, "`-o=x` is not a Debian package name"),
        (r#"{ apt = "x", suite = "a\nb" }"#, "`a\\nb` is not a Debian suite"),
        (r#"{ path = "" }"#, "`path` is empty"),
    ] {
        assert_eq!(parse(text).unwrap_err(), message, "{text}");
    }
    let unknown = parse(r#"{ apt = "x", sweet = "trixie" }"#).unwrap_err();
    assert!(unknown.starts_with("unknown field `sweet`, expected one of `apt`, `suite`"), "{unknown}");
}

#[test]
fn no_password_is_shown() {
    for (url, shown) in [
        ("https://me:pw@host/a@b", "https://host/a@b"),
        // What stands alone is a token.
        ("HTTPS://token@host:8080/a", "HTTPS://host:8080/a"),
        ("http://me:p@w@host?x=1", "http://host?x=1"),
        ("ssh://me:pw@host:22/a", "ssh://me@host:22/a"),
        ("ssh://git@host/a", "ssh://git@host/a"),
        ("ftp://:pw@host", "ftp://host"),
        ("git@host:a/b", "git@host:a/b"),
        ("/a@b/c://d", "/a@b/c://d"),
    ] {
        assert_eq!(super::super::shown_url(url), shown);
    }
    let source = parse(r#"{ git = "ssh://me:pw@host/a", rev = "x" }"#).unwrap();
    assert_eq!(source.asked(), "git ssh://me@host/a rev=x");
}

#[test]
fn the_schema_has_one_shape_per_kind() {
    let schema = serde_json::to_value(schemars::schema_for!(Source)).unwrap();
    assert_eq!(schema["anyOf"].as_array().unwrap().len(), 4);
    assert_eq!(schema["$defs"]["AptSource"]["additionalProperties"], false);
}
