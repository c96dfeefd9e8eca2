//! The responder comes with the first container and goes with the last, whatever happens to it.

use hickory_proto::rr::RecordType::A;
use plyfs::net::dns::life::Starter;

use crate::rig::*;

fn starter() -> Starter {
    Starter {
        program: env!("CARGO_BIN_EXE_plynet").into(),
    }
}

#[test]
fn one_responder_from_the_first_container_to_the_last() {
    on_host(
        "one_responder_from_the_first_container_to_the_last",
        |host| {
            let layout = &host.book.layout;
            // Whoever waits for an answer does not depend on the host's resolvers.
            host.resolvers(&["127.0.0.77"]);
            let _silent = std::net::UdpSocket::bind("127.0.0.77:53").unwrap();
            host.network("blue", &["10.61.0.0/24"]);
            host.network("red", &["10.62.0.0/24"]);
            let web = host.attach("blue", "web", &[], &["10.61.0.2"]);
            assert_eq!(host.responder(), None);
            // Many at once start one.
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        starter()
                            .ensure(layout, &["10.61.0.1".parse().unwrap()])
                            .unwrap()
                    });
                }
            });
            let pid = host.responder().unwrap();
            assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
            assert_daemon(pid);
            let second = host
                .plynet(&["dns", "serve", "--foreground"])
                .output()
                .unwrap();
            let words = String::from_utf8_lossy(&second.stderr).into_owned();
            assert_eq!(second.status.code(), Some(4), "{words}");
            assert!(words.contains(&format!("by process {pid}")), "{words}");
            // Another network is served when the call is back.
            let api = host.attach("red", "api", &[], &["10.62.0.2"]);
            starter()
                .ensure(layout, &["10.62.0.1".parse().unwrap()])
                .unwrap();
            let socket = socket("10.62.0.1");
            socket.send(&question("api.", A).to_vec().unwrap()).unwrap();
            assert!(socket.recv(&mut [0; 512]).is_ok());
            host.detach(&web);
            assert_eq!(host.responder(), Some(pid));
            host.detach(&api);
            until("the responder's end", || host.responder().is_none());
            until("the process's end", || !alive(pid));
        },
    );
}

#[test]
fn a_killed_responder_comes_back() {
    on_host("a_killed_responder_comes_back", |host| {
        let layout = &host.book.layout;
        host.network("blue", &["10.61.0.0/24"]);
        let web = host.attach("blue", "web", &[], &["10.61.0.2"]);
        let mut last = 0;
        for _ in 0..5 {
            starter().ensure(layout, &[]).unwrap();
            let pid = host.responder().unwrap();
            assert_ne!(pid, last);
            last = pid;
            assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
            kill(pid);
            until("its end", || host.responder().is_none());
        }
        starter().ensure(layout, &[]).unwrap();
        host.detach(&web);
        until("the responder's end", || host.responder().is_none());
    });
}

/// The last container goes while the next one comes: afterwards names are answered, always.
#[test]
fn coming_and_going_at_once() {
    on_host("coming_and_going_at_once", |host| {
        let layout = &host.book.layout;
        host.network("blue", &["10.61.0.0/24"]);
        let mut before = host.attach("blue", "c0", &[], &["10.61.0.2"]);
        starter().ensure(layout, &[]).unwrap();
        for i in 1..60 {
            host.detach(&before);
            before = host.attach("blue", &format!("c{i}"), &[], &["10.61.0.2"]);
            starter()
                .ensure(layout, &["10.61.0.1".parse().unwrap()])
                .unwrap();
            assert!(host.responder().is_some());
            assert_eq!(ask("10.61.0.1", &format!("c{i}."), A), "10.61.0.2");
        }
        host.detach(&before);
        until("the responder's end", || host.responder().is_none());
    });
}

#[test]
fn what_keeps_it_from_serving_is_told() {
    on_host("what_keeps_it_from_serving_is_told", |host| {
        std::fs::remove_dir(host.book.layout.live()).unwrap();
        std::fs::write(host.book.layout.live(), "").unwrap();
        let error = starter()
            .ensure(&host.book.layout, &[])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("DNS responder: "), "{error}");
        let nobody = Starter {
            program: "/nowhere".into(),
        };
        let error = nobody
            .ensure(&host.book.layout, &[])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "DNS responder /nowhere: No such file or directory");
    });
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A session of its own, at the root, with nothing of its caller's open.
fn assert_daemon(pid: u32) {
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("cwd").to_str(), Some("/"));
    for fd in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(fd).to_str(), Some("/dev/null"));
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split(' ').nth(4).unwrap();
    assert_eq!(session, pid.to_string());
}
