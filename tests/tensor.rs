//! Tensors: views, values, and memory, with protected pages on both sides of it.

mod guard;

use guard::guarded;
use helion::runtime::Launch;
use helion::{ErrorKind, Tensor};
use std::ptr::NonNull;

#[test]
fn nothing_outside_is_touched() {
    for at_end in [false, true] {
        let mut t = guarded::<f32, 2>([37, 53], at_end);
        let at = t.as_ptr();
        t.as_mut_slice().unwrap().iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
        assert_eq!(t.as_ptr(), at, "a sole owner writes in place");
        let views = [
            t.clone(),
            t.flip(0).unwrap(),
            t.flip(1).unwrap(),
            t.slice(0, 5..7).unwrap(),
            t.slice(1, 50..).unwrap(),
            t.step_by(1, 13).unwrap(),
            t.narrow(0, 37, 0).unwrap(),
            t.step_by(0, usize::MAX).unwrap(),
        ];
        for v in views {
            for w in [v.contiguous(), v.t().contiguous().t()] {
                assert_eq!(v.to_vec().unwrap(), w.to_vec().unwrap());
                assert_eq!(v, w);
            }
        }
        let e = t.select(0, 36).unwrap().expand([4, 53]).unwrap();
        assert_eq!(e.get([3, 52]), Some(36.0 * 53.0 + 52.0));
        assert_eq!(e.to_vec().unwrap().len(), 4 * 53);
    }
}

#[test]
fn views_have_the_right_elements() {
    let t = Tensor::<i32, 3>::from_fn([2, 3, 4], |[a, b, c]| (100 * a + 10 * b + c) as i32);
    assert_eq!(t.permute([2, 0, 1]).unwrap().get([3, 1, 2]), Some(123));
    assert_eq!(t.transpose(0, 2).unwrap().dims(), [4, 3, 2]);
    assert_eq!(t.select(1, 2).unwrap().to_vec().unwrap(), [20, 21, 22, 23, 120, 121, 122, 123]);
    assert_eq!(t.slice(2, 1..=2).unwrap().get([1, 2, 0]), Some(121));
    assert_eq!(t.reshape([4, 6]).unwrap().get([3, 5]), Some(123));
    assert_eq!(t.unsqueeze(3).unwrap().dims(), [2, 3, 4, 1]);
    assert_eq!(t.unsqueeze(0).unwrap().squeeze(0).unwrap(), t);
    assert_eq!(t.flip(2).unwrap().get([0, 0, 0]), Some(3));
    assert_eq!(t.step_by(2, 3).unwrap().dims(), [2, 3, 2]);
    // Reshapes that strides allow: splitting an axis, joining axes that follow each other.
    let tt = t.transpose(0, 1).unwrap();
    assert_eq!(tt.reshape([3, 2, 2, 2]).unwrap().get([2, 1, 1, 1]), Some(123));
    assert!(tt.reshape([6, 4]).is_err());
    let joined = t.slice(2, 0..2).unwrap().reshape([6, 2]).unwrap();
    assert_eq!(joined.to_vec().unwrap(), t.slice(2, 0..2).unwrap().to_vec().unwrap());
    let e = t.select(0, 0).unwrap().unsqueeze(0).unwrap().expand([5, 3, 4]).unwrap();
    assert_eq!(e.reshape([5, 2, 6]).err().map(|_| ()), None);
    assert_eq!(e.reshape([5, 12]).unwrap().get([4, 11]), Some(23));
    assert_eq!(
        Tensor::<i32, 0>::from_slice([], &[5]).unwrap().unsqueeze(0).unwrap().expand([3]).unwrap().to_vec().unwrap(),
        [5; 3]
    );
}

#[test]
fn mistakes_are_errors() {
    let t = Tensor::<f32, 2>::zeros([2, 3]);
    assert!(t.permute([0, 0]).is_err() && t.permute([0, 2]).is_err());
    assert!(t.transpose(0, 2).is_err() && t.slice(2, ..).is_err());
    #[allow(clippy::reversed_empty_ranges, reason = "the mistake under test")]
    let backwards = t.slice(1, 2..1);
    assert!(backwards.is_err());
    assert!(t.slice(1, ..4).is_err() && t.slice(1, ..=usize::MAX).is_err() && t.narrow(1, usize::MAX, 2).is_err());
    assert!(t.step_by(0, 0).is_err() && t.flip(5).is_err());
    assert!(t.select(0, 2).is_err() && t.squeeze(0).is_err() && t.unsqueeze(3).is_err());
    assert!(t.expand([2, 4]).is_err() && t.expand([3]).is_err() && t.reshape([7]).is_err());
    assert!(t.reshape([usize::MAX, 2]).is_err() && t.reshape([0, 5]).is_err());
    assert!(Tensor::from_slice([2, 2], &[1.0f32]).is_err() && Tensor::from_vec([usize::MAX, 2], vec![1u8]).is_err());
    assert_eq!(t.get([2, 0]), None);
    assert!(t.clone().set([0, 3], 1.0).is_err());
    assert!(helion::Device::cuda(1 << 20).unwrap_err().to_string().contains("cannot be used"));
}

#[test]
fn tensors_that_cannot_be_made_say_so_when_used() {
    let t = Tensor::<f32, 2>::zeros([usize::MAX, 3]);
    assert_eq!(t.dims(), [usize::MAX, 3]);
    for e in [
        t.check().err(),
        t.to_vec().err(),
        t.as_slice().err(),
        t.clone().as_mut_slice().err(),
        t.t().to_vec().err(),
        t.copy().check().err(),
        t.contiguous().check().err(),
        t.raw().err(),
        t.clone().raw_mut().err(),
        t.clone().set([0, 0], 1.0).err(),
        t.slice(0, 0..2).unwrap().to_vec().err(),
    ] {
        assert!(matches!(e.unwrap().kind(), ErrorKind::Shape(m) if m.contains("does not fit")));
    }
    assert_eq!(t.get([0, 0]), None);
    assert!(matches!(Tensor::<u8, 1>::zeros([1 << 62]).check().unwrap_err().kind(), ErrorKind::Memory(_)));
    let e = Tensor::<u8, 1>::zeros([1]).expand([usize::MAX]).unwrap();
    assert!(e.to_vec().is_err() && e.copy().check().is_err() && e.as_slice().is_err());
    let e = Tensor::<u8, 1>::zeros([1]).unsqueeze(0).unwrap().expand([usize::MAX, usize::MAX]).unwrap();
    assert!(e.to_vec().is_err() && e.len() == usize::MAX && e.reshape([1]).is_err());
}

#[test]
fn zero_sizes_work() {
    for dims in [[0, 3], [3, 0], [0, 0], [usize::MAX, 0]] {
        let t = Tensor::<f64, 2>::zeros(dims);
        assert!(t.is_empty() && t.is_contiguous() && t.to_vec().unwrap().is_empty());
        assert!(t.t().contiguous().as_slice().unwrap().is_empty());
        assert!(t.flip(0).unwrap().flip(1).unwrap().to_vec().unwrap().is_empty());
        assert!(t.reshape([0]).unwrap().is_empty() && t.slice(0, 0..dims[0]).is_ok());
    }
}

#[test]
fn writing_one_tensor_never_changes_another() {
    let mut a = Tensor::<i32, 2>::from_fn([4, 4], |[i, j]| (4 * i + j) as i32);
    let (b, row) = (a.clone(), a.select(0, 1).unwrap());
    let at = a.as_ptr();
    a.as_mut_slice().unwrap()[4] = -1;
    assert_ne!(a.as_ptr(), at);
    assert_eq!((b.get([1, 0]), row.get([0]), a.get([1, 0])), (Some(4), Some(4), Some(-1)));
    drop((b, row));
    let at = a.as_ptr();
    a.set([0, 0], 7).unwrap();
    assert_eq!(a.as_ptr(), at, "alone again: in place");
    let mut column = a.t().select(0, 2).unwrap();
    drop(a);
    assert!(column.is_unique());
    column.set([3], 99).unwrap();
    assert_eq!(column.to_vec().unwrap(), [2, 6, 10, 99]);
    let mut wide = Tensor::<i32, 1>::zeros([1]).expand([8]).unwrap();
    assert!(matches!(wide.set([0], 1).unwrap_err().kind(), ErrorKind::Access(_)));
}

#[test]
fn threads_may_write_clones() {
    let t = Tensor::<u64, 1>::from_fn([4096], |[i]| i as u64);
    std::thread::scope(|s| {
        for k in 0..4u64 {
            let mut mine = t.clone();
            s.spawn(move || {
                for v in mine.as_mut_slice().unwrap() {
                    *v += k;
                }
                assert_eq!(mine.to_vec().unwrap()[10], 10 + k);
            });
        }
    });
    assert_eq!(t.get([10]), Some(10));
}

#[test]
fn reused_memory_is_zero_where_it_must_be() {
    for n in [100, 1 << 21, 5 << 20] {
        drop(Tensor::full([n], 0xffu8));
        assert!(Tensor::<u8, 1>::zeros([n]).as_slice().unwrap().iter().all(|v| *v == 0));
        drop(Tensor::full([n], 0xffu8));
        // Any byte but 0 and 1 would not be a `bool`.
        let b = Tensor::<bool, 1>::new([n]);
        assert!(b.as_slice().unwrap().iter().all(|v| !*v));
    }
}

#[test]
fn big_tensors_use_huge_pages_and_their_memory_again() {
    let a = Tensor::<f32, 1>::zeros([3 << 20]);
    assert_eq!(a.as_ptr() as usize % (2 << 20), 0);
    for _ in 0..4 {
        let b = Tensor::<f32, 1>::new([3 << 20]);
        assert_ne!(a.as_ptr(), b.as_ptr());
    }
}

#[test]
fn raw_parts_are_checked() {
    let mut data = vec![0f32; 64];
    let p = NonNull::new(data.as_mut_ptr()).unwrap();
    let owner = || Box::new(()) as Box<dyn std::any::Any + Send + Sync>;
    // SAFETY: each either fails before anything is read, or stays within `data` and is dropped at once.
    unsafe {
        assert!(Tensor::from_raw_parts(p.byte_add(1), [1], [1], false, owner()).is_err());
        assert!(Tensor::from_raw_parts(p, [8, 8], [0, 1], true, owner()).is_err());
        assert!(Tensor::from_raw_parts(p, [8, 8], [0, 1], false, owner()).is_ok());
        assert!(Tensor::from_raw_parts(p, [usize::MAX, 2], [1, 1], false, owner()).is_err());
        assert!(Tensor::from_raw_parts(p, [3], [isize::MAX], false, owner()).is_err());
        assert!(Tensor::from_raw_parts(p, [3], [isize::MIN], false, owner()).is_err());
    }
}

#[test]
fn launches_refuse_shared_and_overlapping_outputs() {
    // Tensors that share memory and may both be written do not come from safe code; make them by hand.
    let mut data = vec![0f32; 64];
    let p = NonNull::new(data.as_mut_ptr()).unwrap();
    // SAFETY: never used for access.
    let make = |offset: usize, n: usize| unsafe {
        Tensor::from_raw_parts(p.add(offset), [n], [1], true, Box::new(())).unwrap()
    };
    let (mut a, mut b, c) = (make(0, 32), make(32, 32), make(31, 2));
    let mut refused = |write_b: bool, with_c: bool| {
        let mut l = Launch::begin("k");
        // SAFETY: never run.
        unsafe {
            let _: (_, [_; 1]) = l.tensor("a", a.raw_mut());
            let _: (_, [_; 1]) = l.tensor("b", if write_b { b.raw_mut() } else { b.raw() });
            if with_c {
                let _: (_, [_; 1]) = l.tensor("c", c.raw());
            }
        }
        l.check().err().map(|e| e.to_string())
    };
    assert_eq!(refused(true, false), None);
    assert_eq!(refused(false, false), None);
    let e = refused(false, true).unwrap();
    assert!(e.contains("kernel `k` writes `a`, whose memory `c` shares"), "{e}");
    let x = Tensor::<f32, 1>::zeros([8]);
    let mut l = Launch::begin("k");
    // SAFETY: never run.
    unsafe {
        let _: (_, [_; 1]) = l.tensor("x", x.raw());
        let _: (_, [_; 1]) = l.tensor("y", x.raw());
    }
    assert!(l.check().is_ok(), "reading twice is fine");
    let mut wide = x.unsqueeze(0).unwrap().slice(1, 0..1).unwrap().expand([4, 1]).unwrap();
    // SAFETY: never run.
    unsafe {
        let _: (_, [_; 2]) = l.tensor("wide", wide.raw_mut());
    }
    assert!(matches!(l.check().unwrap_err().kind(), ErrorKind::Access(_)));
}
