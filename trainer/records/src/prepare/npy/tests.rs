use proptest::prelude::*;

use super::*;

fn file(version: u8, header: &str) -> Vec<u8> {
    let length = header.len() as u32;
    let size =
        if version == 1 { (length as u16).to_le_bytes().to_vec() } else { length.to_le_bytes().to_vec() };
    [&MAGIC[..], &[version, 0], &size, header.as_bytes()].concat()
}

fn refusal(file: &[u8]) -> String {
    parse(file).unwrap_err()
}

#[test]
fn headers_as_numpy_writes_them_are_read_in_every_version() {
    let text = "{'descr': '<i8', 'fortran_order': False, 'shape': (60000, 28, 28), }          \n";
    for (version, start) in [(1, 10), (2, 12), (3, 12)] {
        let header = parse(&file(version, text)).unwrap();
        let element = Element { kind: Kind::Signed, bytes: 8, big_endian: false, descr: "<i8".to_owned() };
        let expected = Header {
            element,
            fortran_order: false,
            dims: vec![60_000, 28, 28],
            bytes: start + text.len() as u64,
        };
        assert_eq!(header, expected);
    }
    let old = "{\"shape\": (5L,), \"descr\":\">u2\",'fortran_order':True}";
    let header = parse(&file(1, old)).unwrap();
    assert_eq!((header.dims, header.fortran_order, header.element.big_endian), (vec![5], true, true));
    assert!(parse(&file(1, "{'descr':'|b1','fortran_order':False,'shape':()}")).unwrap().dims.is_empty());
}

#[test]
fn what_is_no_header_says_what_it_lacks() {
    let whole = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}";
    assert!(parse(&file(1, whole)).is_ok());
    for (text, reason) in [
        ("{'descr': '|u1', 'fortran_order': False}", "no shape"),
        ("{'descr': '|u1', 'shape': (2,)}", "no fortran_order"),
        ("{'shape': (2,), 'fortran_order': False}", "no descr"),
        ("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,)}", "no array's"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (2, -3)}", "no array's"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (2 3)}", "no array's"),
        ("{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}", "no array's"),
        ("{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}", "no array's"),
        ("{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", "no array's"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} + 1", "no array's"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}", "no array's"),
        ("{'descr': '<u3', 'fortran_order': False, 'shape': (2,)}", "\"<u3\""),
        ("{'descr': '', 'fortran_order': False, 'shape': (2,)}", "type that is not read"),
        ("", "no array's"),
    ] {
        assert!(refusal(&file(1, text)).contains(reason), "{text}: {}", refusal(&file(1, text)));
    }
    assert!(refusal(b"PK\x03\x04").contains("does not begin"));
    assert!(refusal(b"").contains("does not begin"));
    assert!(refusal(&file(4, whole)).contains("version is 4.0"));
    assert!(refusal(&[&MAGIC[..], &[2, 0, 255, 255, 255, 255]].concat()).contains("longer"));
    let whole = file(2, whole);
    for end in 1..whole.len() {
        assert!(refusal(&whole[..end]).contains("ends within"), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn noise_never_panics(version in 0_u8..5, noise in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,80}") {
        let _ = parse(&noise);
        let _ = parse(&[&MAGIC[..], &[version, 0], &noise].concat());
        let _ = parse(&file(version, &text));
    }

    #[test]
    fn a_damaged_header_never_panics(at in 0_usize..60, byte: u8) {
        let mut damaged = file(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n");
        damaged[at] = byte;
        let _ = parse(&damaged);
    }
}
