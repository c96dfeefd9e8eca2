//! Tests of the option words, as tables.

use super::*;

const BASE: &str = "lowerdir=/l,upperdir=/u,workdir=/w";

fn parse_text(mode: Mode, text: &str) -> Result<Parsed, OptionError> {
    parse(mode, &[OsString::from(text)])
}

fn native(extra: &str) -> Result<Parsed, OptionError> {
    parse_text(Mode::Native, &format!("{BASE},{extra}"))
}

fn compatible(extra: &str) -> Result<Parsed, OptionError> {
    parse_text(Mode::Compatible, &format!("{BASE},{extra}"))
}

fn lower(text: &str) -> Vec<PathBuf> {
    parse_text(Mode::Native, text).unwrap().options.lower
}

fn paths(list: &[&str]) -> Vec<PathBuf> {
    list.iter().map(PathBuf::from).collect()
}

#[test]
fn defaults() {
    let parsed = parse_text(Mode::Native, BASE).unwrap();
    let expected = Options {
        lower: paths(&["/l"]),
        data_only: Vec::new(),
        upper: Some(UpperDirs {
            upper: "/u".into(),
            work: "/w".into(),
        }),
        xattr: XattrMode::Auto,
        sync: SyncMode::Auto,
        oci: false,
        whiteout: None,
        xino: Xino::Auto,
        timeout: None,
        redirects: Redirects {
            follow: true,
            metacopy: true,
        },
        index: false,
        null_uuid: false,
        redirect_dir: false,
        metacopy: false,
        rename_copy_limit: None,
        owners: Owners::default(),
        xattr_permissions: None,
        static_nlink: false,
        noacl: false,
        read_only: false,
    };
    assert_eq!(parsed.options, expected);
    assert_eq!(parsed.flags, MountFlags::default());
    assert!(parsed.warnings.is_empty() && !parsed.debug && !parsed.foreground);
    let same = Options::new(expected.lower.clone(), expected.upper.clone()).unwrap();
    assert_eq!(same, expected);
}

#[test]
fn one_lower_and_no_upper_is_read_only() {
    let parsed = parse_text(Mode::Native, "lowerdir=/l").unwrap();
    assert!(parsed.options.read_only && parsed.flags.read_only);
    assert_eq!(parsed.options.upper, None);
}

// T116
#[test]
fn layers_and_escapes() {
    assert_eq!(
        lower(r"lowerdir=/a\:b:/c\,d:/e\\f"),
        paths(&["/a:b", "/c,d", r"/e\f"])
    );
    assert_eq!(lower(r#"lowerdir="/a,b:/c""#), paths(&["/a,b", "/c"]));
    assert_eq!(
        lower("lowerdir=rel:../up:./x"),
        paths(&["rel", "../up", "./x"])
    );
    assert_eq!(lower("lowerdir=/a,lowerdir=/b"), paths(&["/b"]));
    assert_eq!(
        lower(r"lowerdir+=/a:b,lowerdir+=/c\d\,e"),
        paths(&["/a:b", r"/c\d,e"])
    );
    let parsed = parse_text(Mode::Native, r"lowerdir=/l,upperdir=/u:\,,workdir=/w\\").unwrap();
    let dirs = parsed.options.upper.unwrap();
    assert_eq!((dirs.upper, dirs.work), ("/u:,".into(), r"/w\".into()));
}

// T024, T116
#[test]
fn data_only_layers() {
    type Layers<'a> = (&'a [&'a str], &'a [&'a str]);
    let table: &[(&str, Layers)] = &[
        (r"lowerdir=/a::/b", (&["/a"], &["/b"])),
        (
            r"lowerdir=/a\:x:/b::/c\:y::/d",
            (&["/a:x", "/b"], &["/c:y", "/d"]),
        ),
        (
            r"lowerdir+=/a,lowerdir+=/b:x,datadir+=/c::y,datadir+=/d\,z",
            (&["/a", "/b:x"], &["/c::y", "/d,z"]),
        ),
        (r"lowerdir=/a::/b,lowerdir=/c", (&["/c"], &[])),
        (r"lowerdir+=/a,datadir+=/b,lowerdir=/c", (&["/c"], &[])),
        (r"lowerdir=/a\:\:/b", (&["/a::/b"], &[])),
    ];
    for (text, (lower, data_only)) in table {
        let options = parse_text(Mode::Native, text).unwrap().options;
        assert_eq!(options.lower, paths(lower), "{text}");
        assert_eq!(options.data_only, paths(data_only), "{text}");
    }
    // Engines send an empty first and last element.
    let parsed = parse_text(Mode::Compatible, "lowerdir=:a::d:").unwrap();
    assert_eq!(parsed.options.data_only, paths(&["d"]));
}

// T116
#[test]
fn any_number_of_layers_of_any_length() {
    let list: Vec<String> = (0..3000)
        .map(|i| format!("/layers/{i}/{}", "x".repeat(200)))
        .collect();
    assert_eq!(lower(&format!("lowerdir={}", list.join(":"))).len(), 3000);
}

#[test]
fn several_arguments_are_joined() {
    let words = ["upperdir=/u", "workdir=/w,ro", "rw", "lowerdir=/l"].map(OsString::from);
    assert_eq!(
        parse(Mode::Native, &words).unwrap().options,
        parse_text(Mode::Native, BASE).unwrap().options
    );
}

#[test]
fn what_podman_sends() {
    let text = "lowerdir=G/l/ID1:G/l/ID2,upperdir=G/id/diff,workdir=G/id/work,,volatile,\
                context=\"system_u:object_r:container_file_t:s0:c1,c2\",private,ro,ro";
    let parsed = parse_text(Mode::Compatible, text).unwrap();
    assert_eq!(parsed.options.lower, paths(&["G/l/ID1", "G/l/ID2"]));
    assert_eq!(parsed.options.sync, SyncMode::Volatile);
    assert!(parsed.options.oci && parsed.options.read_only);
    let context = "system_u:object_r:container_file_t:s0:c1,c2";
    assert_eq!(parsed.flags.context, [("context".into(), context.into())]);
    assert!(parsed.warnings.is_empty());
    let of_empty_ends = parse_text(Mode::Compatible, "lowerdir=:a:b:").unwrap();
    assert_eq!(of_empty_ends.options.lower, paths(&["a", "b"]));
}

#[test]
fn what_containerd_and_fstab_send() {
    let parsed =
        compatible("dev,suid,rw,ro,rw,noatime,x-systemd.automount,_netdev,nofail").unwrap();
    assert!(!parsed.flags.read_only && !parsed.flags.nodev && parsed.warnings.is_empty());
    assert!(native("nofail,_netdev,user,x-initrd.mount,defaults,uuid=on").is_ok());
}

#[test]
fn words_with_meaning() {
    type Check = fn(&Parsed) -> bool;
    let table: &[(&str, Check)] = &[
        ("userxattr", |p| p.options.xattr == XattrMode::User),
        ("userxattr,xattr=user", |p| {
            p.options.xattr == XattrMode::User
        }),
        ("xattr=trusted", |p| p.options.xattr == XattrMode::Trusted),
        ("fsync=strict", |p| p.options.sync == SyncMode::Strict),
        ("fsync=0", |p| p.options.sync == SyncMode::Volatile),
        ("volatile,fsync=1", |p| p.options.sync == SyncMode::Auto),
        ("fsync=volatile", |p| p.options.sync == SyncMode::Volatile),
        ("oci", |p| p.options.oci),
        ("oci=on", |p| p.options.oci),
        ("whiteout=wh", |p| {
            p.options.oci && p.options.whiteout == Some(WhiteoutForm::Name)
        }),
        ("oci=on,whiteout=xattr", |p| {
            p.options.oci && p.options.whiteout == Some(WhiteoutForm::Attribute)
        }),
        ("whiteout=char", |p| {
            p.options.whiteout == Some(WhiteoutForm::Device)
        }),
        ("whiteout=char,whiteout=auto", |p| {
            p.options.whiteout.is_none()
        }),
        ("oci=on,whiteout=char", |p| !p.options.oci),
        ("index=on", |p| p.options.index),
        ("index=on,index=off", |p| !p.options.index),
        ("uuid=off", |p| p.options.null_uuid),
        ("uuid=null", |p| !p.options.null_uuid),
        ("xino=off", |p| p.options.xino == Xino::Off),
        ("xino=on", |p| p.options.xino == Xino::On),
        ("timeout=0", |p| p.options.timeout == Some(Duration::ZERO)),
        ("timeout=1.5", |p| {
            p.options.timeout == Some(Duration::from_millis(1500))
        }),
        ("static_nlink", |p| p.options.static_nlink),
        ("noacl", |p| p.options.noacl),
        ("ro", |p| p.options.read_only && p.flags.read_only),
        ("nosuid,nodev,noexec", |p| {
            p.flags.nosuid && p.flags.nodev && p.flags.noexec
        }),
        ("nosuid,suid", |p| !p.flags.nosuid),
        ("relatime", |p| p.flags.atime == Atime::Relatime),
        ("allow_other", |p| p.flags.allow_other == Some(true)),
        ("passthrough=off", |p| p.flags.passthrough == Some(false)),
        ("lower_passthrough=on", |p| p.flags.lower_passthrough),
        ("noopen=on", |p| p.flags.noopen == Some(true)),
        ("noopen=off", |p| p.flags.noopen == Some(false)),
        ("noopen=on,noopen=auto", |p| p.flags.noopen.is_none()),
        ("rings=on", |p| p.flags.rings == Rings::On),
        ("rings", |p| p.flags.rings == Rings::On),
        ("rings=on,rings=auto", |p| p.flags.rings == Rings::Auto),
        ("rings=on,rings=off", |p| p.flags.rings == Rings::Off),
        ("threads=4", |p| p.flags.threads == Some(4)),
        ("max_write=4096", |p| p.flags.max_write == Some(4096)),
        ("fsname=a\\,b", |p| p.flags.fsname == Some("a,b".into())),
        ("debug", |p| p.debug),
        ("redirect_dir=follow", |p| p.options.redirects.follow),
        ("redirect_dir=on", |p| {
            p.options.redirect_dir && !p.options.metacopy
        }),
        ("metacopy=on", |p| {
            p.options.metacopy && p.options.redirect_dir && p.options.redirects.follow
        }),
        ("metacopy=on,redirect_dir=on", |p| p.options.metacopy),
        ("metacopy=on,metacopy=off", |p| {
            !p.options.metacopy && !p.options.redirect_dir
        }),
        ("userxattr", |p| {
            !p.options.redirects.follow && !p.options.redirects.metacopy
        }),
        ("rename_dir=copy", |p| {
            p.options.rename_copy_limit == Some(1 << 30)
        }),
        ("rename_dir=copy:3M", |p| {
            p.options.rename_copy_limit == Some(3 << 20)
        }),
        ("rename_dir=copy:7,rename_dir=off", |p| {
            p.options.rename_copy_limit.is_none()
        }),
        ("xattr_permissions=1", |p| {
            p.options.xattr_permissions == Some(Form::Security) && p.options.noacl
        }),
        ("xattr_permissions=2", |p| {
            p.options.xattr_permissions == Some(Form::Containers)
        }),
        ("xattr_permissions=2,xattr_permissions=0", |p| {
            p.options.xattr_permissions.is_none() && !p.options.noacl
        }),
        ("redirect_dir=nofollow", |p| !p.options.redirects.follow),
        ("metacopy=off", |p| !p.options.redirects.metacopy),
        (
            "redirect_dir=off,metacopy=off,index=off,nfs_export=off,verity=off",
            |p| p.warnings.is_empty(),
        ),
        ("userxattr,redirect_dir=nofollow,xattr_permissions=0", |p| {
            p.warnings.is_empty()
        }),
    ];
    for (words, holds) in table {
        let parsed = native(words).unwrap_or_else(|e| panic!("{words}: {e}"));
        assert!(holds(&parsed), "{words}: {parsed:?}");
    }
}

#[test]
fn compatible_mode_reads_oci_whiteouts_unless_told() {
    assert!(compatible("ro").unwrap().options.oci);
    assert!(!compatible("oci=off").unwrap().options.oci);
    assert!(!compatible("whiteout=char").unwrap().options.oci);
    assert!(compatible("whiteout=auto").unwrap().options.oci);
}

// T113: the rows that need no look at the disk. Text that must be in the message.
#[test]
fn errors_name_the_option() {
    let table = [
        ("", "lowerdir"),
        ("lowerdir=", "lowerdir="),
        ("lowerdir", "lowerdir"),
        ("upperdir=/u,workdir=/w", "lowerdir"),
        ("lowerdir=/l,upperdir=/u", "upperdir=/u"),
        ("lowerdir=/l,upperdir=,workdir=/w", "upperdir="),
        ("lowerdir=:/l", "empty element"),
        ("lowerdir=/l:", "empty element"),
        ("lowerdir=::/b", "empty element"),
        ("lowerdir=/a::", "empty element"),
        ("lowerdir=/a::/b:", "empty element"),
        ("lowerdir=/a::/b::", "empty element"),
        ("lowerdir=/a:::/b", "empty element"),
        ("lowerdir=/a::/b:/c", "after a data-only one"),
        ("datadir+=/d", "lowerdir"),
        ("lowerdir=/l,datadir+=/d", "datadir+=/d"),
        ("lowerdir=/l::/d,datadir+=/e", "datadir+=/e"),
        ("lowerdir+=/l,lowerdir=/m,datadir+=/d", "datadir+=/d"),
        (
            "lowerdir+=/l,datadir+=/d,lowerdir+=/m",
            "cannot follow datadir+=",
        ),
        ("lowerdir+=/l,datadir+=", "datadir+="),
        ("lowerdir=/l,lowerdir+=/m", "lowerdir+=/m"),
        ("lowerdir=/l,bogus", "`bogus`: unknown"),
        ("lowerdir=/l,bogus=1", "`bogus=1`: unknown"),
        ("lowerdir=/l,a\nb=1", "`a\\nb=1`"),
        ("lowerdir=\"/l", "quote"),
        ("lowerdir=/l,xino=7", "expected off, auto, on"),
        ("lowerdir=/l,xattr=both", "xattr=both"),
        ("lowerdir=/l,userxattr,xattr=trusted", "xattr=trusted"),
        ("lowerdir=/l,fsync=maybe", "fsync=maybe"),
        ("lowerdir=/l,timeout=soon", "timeout=soon"),
        ("lowerdir=/l,timeout=-1", "timeout=-1"),
        ("lowerdir=/l,timeout=inf", "timeout=inf"),
        ("lowerdir=/l,threads=0", "threads=0"),
        ("lowerdir=/l,threads=65", "threads=65"),
        ("lowerdir=/l,max_read=x", "max_read=x"),
        (
            "lowerdir=/l,metacopy=on,redirect_dir=follow",
            "needs redirect_dir=on",
        ),
        (
            "lowerdir=/l,metacopy=on,nfs_export=on",
            "needs nfs_export=off",
        ),
        ("lowerdir=/l,index=off,nfs_export=on", "needs index=on"),
        (
            "lowerdir=/l,passthrough=on,noopen=on",
            "needs passthrough=off",
        ),
        ("lowerdir=/l,userxattr,redirect_dir=on", "userxattr"),
        ("lowerdir=/l,userxattr,metacopy=on", "userxattr"),
        ("lowerdir=/l,userxattr,verity=on", "userxattr"),
        ("lowerdir=/l,redirect_dir=sideways", "redirect_dir=sideways"),
        ("lowerdir=/l,rename_dir=move", "rename_dir=move"),
        ("lowerdir=/l,rename_dir=copy:-1", "rename_dir=copy:-1"),
        ("lowerdir=/l,uuid=7", "uuid=7"),
        ("lowerdir=/l,uidmapping=:0:1", "expected triples"),
        ("lowerdir=/l,gidmapping", "gidmapping"),
        ("lowerdir=/l,xattr_permissions=3", "xattr_permissions=3"),
        ("lowerdir=/l,gidmapping=0:0:2:1:5:1", "overlap"),
        ("lowerdir=/l,squash_to_uid=root", "squash_to_uid=root"),
        ("lowerdir=/l,squash_to_gid=4294967295", "is no id"),
        ("lowerdir=/l,squash_to_root=maybe", "squash_to_root=maybe"),
    ];
    for (text, wanted) in table {
        let error = parse_text(Mode::Native, text).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn what_does_not_exist_yet_is_refused() {
    let both = ["verity=on", "verity=require"];
    for words in both {
        for parsed in [native(words), compatible(words)] {
            assert!(
                parsed
                    .expect_err(words)
                    .to_string()
                    .contains("not supported yet"),
                "{words}"
            );
        }
    }
    assert_eq!(compatible("metacopy=on").unwrap().warnings.len(), 1);
    assert!(!compatible("metacopy=on").unwrap().options.metacopy);
    let error = native("nfs_export=on").expect_err("nfs_export=on");
    assert!(error.to_string().contains("not supported yet"));
    assert_eq!(compatible("nfs_export=on").unwrap().warnings.len(), 1);
}

// T124
#[test]
fn mapped_owners() {
    let map = |text: &str| Some(IdMap::parse(text.as_bytes()).unwrap());
    let podman = "uidmapping=:0:200000:65536,gidmapping=:0:300000:65536";
    for parsed in [native(podman), compatible(podman)] {
        let parsed = parsed.unwrap();
        let Owners { users, groups } = parsed.options.owners;
        assert_eq!(users.map, map("0:200000:65536"));
        assert_eq!(groups.map, map("0:300000:65536"));
        assert_eq!((users.squash, groups.squash), (None, None));
        assert!(parsed.warnings.is_empty());
    }
    let squash = |words: &str| {
        let owners = native(words).unwrap().options.owners;
        (owners.users.squash, owners.groups.squash)
    };
    assert_eq!(squash("squash_to_root"), (Some(0), Some(0)));
    assert_eq!(squash("squash_to_uid=5,squash_to_root"), (Some(5), Some(0)));
    assert_eq!(squash("squash_to_root,squash_to_gid=6"), (Some(0), Some(6)));
    assert_eq!(squash("squash_to_uid=5"), (Some(5), None));
    assert_eq!(squash("squash_to_root=off"), (None, None));
    assert!(
        native("squash_to_root=0")
            .unwrap()
            .options
            .owners
            .are_plain()
    );
}

#[test]
fn compatible_mode_warns_of_unknown_words() {
    let parsed = compatible("bogus,odd=1").unwrap();
    assert_eq!(
        parsed.warnings,
        [
            "option `bogus`: unknown, ignored",
            "option `odd=1`: unknown, ignored"
        ]
    );
    let parsed = parse_text(Mode::Native, "lowerdir=/l,workdir=/w").unwrap();
    assert_eq!(
        parsed.warnings,
        ["option `workdir=/w`: useless without upperdir, ignored"]
    );
}

#[test]
fn anchored_paths_are_absolute() {
    let text = "lowerdir=a:/b:l/ID/../diff1::d,upperdir=u,workdir=./w";
    let mut options = parse_text(Mode::Native, text).unwrap().options;
    options.anchor(Path::new("/here"));
    assert_eq!(
        options.lower,
        paths(&["/here/a", "/b", "/here/l/ID/../diff1"])
    );
    assert_eq!(options.data_only, paths(&["/here/d"]));
    let dirs = options.upper.unwrap();
    assert_eq!(
        (dirs.upper, dirs.work),
        ("/here/u".into(), "/here/./w".into())
    );
}

#[test]
fn a_remount_changes_flags_and_nothing_else() {
    let flags = |words: &str| remount(&[words.into()]);
    assert_eq!(flags("ro,lowerdir=/a"), None);
    assert_eq!(flags(r"ro,lowerdir=/a\,remount"), None);
    let all = flags("ro,nodev,remount,user_id=0,allow_other,lowerdir=/a,upperdir=/b").unwrap();
    assert!(all.read_only && all.nodev && !all.nosuid);
    assert!(!flags("remount,ro,rw").unwrap().read_only);
}
