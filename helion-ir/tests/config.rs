//! Configs and spaces: what prints parses back, what is out of a domain is refused, spaces count and shrink.

use helion_ir::config::{Config, ConfigSpace, Domain, Knob, Slot};

fn tm() -> Slot {
    Slot::of(Knob::Block, "tm")
}

fn space() -> ConfigSpace {
    let mut s = ConfigSpace::default();
    s.add(tm(), vec![4, 1, 2, 8, 16]);
    s.add(Slot::kernel(Knob::Unroll), vec![2, 1, 4]);
    s
}

#[test]
fn every_value_of_a_domain_reads_back() {
    const WORDS: Domain = Domain::Choice(&["flat", "swizzled"]);
    for (domain, values) in [
        (WORDS, vec![0, 1]),
        (Domain::Switch, vec![0, 1]),
        (Domain::Integer(2, 5), vec![2, 5]),
        (Domain::PowerOfTwo(1, 8), vec![1, 4, 8]),
    ] {
        for v in values {
            assert!(domain.contains(v));
            assert_eq!(domain.read(&domain.show(v)), Some(v), "{domain}");
        }
    }
    assert_eq!((WORDS.read("round"), WORDS.read("1"), Domain::Switch.read("2")), (None, None, None));
    assert_eq!((Domain::PowerOfTwo(1, 8).read("6"), Domain::Integer(2, 5).read("6")), (None, None));
}

#[test]
fn knobs_print_and_parse() {
    for knob in Knob::ALL {
        let v = (0..=64).find(|v| knob.domain().contains(*v)).expect("a small value");
        let config = Config::new().with(Slot::of(*knob, "name"), v);
        assert_eq!(config.to_string().parse(), Ok(config));
    }
    assert_eq!(Config::new().to_string().parse(), Ok(Config::new()));
    for (text, says) in [
        ("block.tm", "expected `knob=value`"),
        ("blok.tm=4", "is not a knob; the knobs are block"),
        ("block.tm=0", "the values of `block` are 1 to"),
        ("unroll=many", "the values of `unroll` are 0 to 8"),
    ] {
        let e = text.parse::<Config>().expect_err(text).to_string();
        assert!(e.contains(says), "{e}");
    }
}

#[test]
fn spaces_count_restrict_and_shrink() {
    let s = space();
    assert_eq!((s.len(), s.default_config().to_string()), (15, "block.tm=4 unroll=2".into()));
    let all: std::collections::HashSet<Config> = (0..15).map(|i| s.nth(i)).collect();
    assert!(all.len() == 15 && all.iter().all(|c| s.contains(c)));
    assert!(!s.contains(&Config::new().block("tm", 4)));

    let mut r = s.clone();
    r.restrict(&tm(), &[32, 2]).unwrap();
    assert_eq!((r.len(), r.default_config().get(&tm())), (6, Some(32)));
    assert!(r.restrict(&tm(), &[]).unwrap_err().contains("at least one"));
    assert!(r.restrict(&tm(), &[0]).unwrap_err().contains("outside the domain"));
    let other = r.restrict(&Slot::of(Knob::Block, "tn"), &[1]).unwrap_err();
    assert!(other.contains("block.tm, unroll"), "{other}");

    for most in [0, 1, 2, 7, 14, 15, 100] {
        let mut c = s.clone();
        c.cut(most);
        assert!(c.len() <= most.max(1) && c.default_config() == s.default_config(), "{most}");
        assert!(most < 2 || c.len() * 2 > most.min(15), "{most} leaves {}", c.len());
    }
}
