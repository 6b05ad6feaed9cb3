//! Two whole matrix products as LLVM makes them from the shapes that fast kernels have: `cp.async` into three stages with
//! `ldmatrix` and `mma.sync`, and a ring of tensor copies between a producer warp and two warpgroups of `wgmma`.

mod common;

use common::{Rng, download, module, upload};
use half::bf16;
use helion_ptx_interp::{Device, Fault, FaultKind, Report, Swizzle, TensorMap, TensorType};

/// Rows and columns of the result: one block's tile each.
const TILE: usize = 128;

/// The operands, `A` by rows and `B` by rows, and the product.
fn operands(depth: usize) -> (Vec<bf16>, Vec<bf16>, Vec<bf16>) {
    let mut rng = Rng(11);
    let mut draw = |n: usize| -> Vec<bf16> { (0..n).map(|_| bf16::from_f32(rng.small())).collect() };
    let (a, b) = (draw(TILE * depth), draw(depth * TILE));
    let product = (0..TILE * TILE)
        .map(|e| {
            let (row, column) = (e / TILE, e % TILE);
            bf16::from_f32((0..depth).map(|k| a[row * depth + k].to_f32() * b[k * TILE + column].to_f32()).sum())
        })
        .collect();
    (a, b, product)
}

#[test]
fn with_a_pipeline_of_background_copies() {
    let depth = 160;
    let (a, b, product) = operands(depth);
    let text = include_str!("ptx/matmul.sm_80.ptx");
    let launch = |text: &str| -> Result<(Report, Vec<bf16>), Fault> {
        let mut device = Device::new();
        let (pa, pb, pc) = (upload(&mut device, &a), upload(&mut device, &b), device.alloc(TILE * TILE * 2));
        let mut block: Vec<u8> = [pa, pb, pc].iter().flat_map(|p| p.to_le_bytes()).collect();
        [TILE, TILE, depth].iter().for_each(|n| block.extend((*n as u32).to_le_bytes()));
        let report = device.launch(&module(text), "mma_mm", [1, 1, 1], [128, 1, 1], 3 * 16384, &block)?;
        Ok((report, download(&device, pc, TILE * TILE)))
    };
    let (report, got) = launch(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(got, product);
    assert_eq!(report.shared.conflicts(), 0, "the swizzle keeps fragments in different banks");
    let fault =
        launch(&text.replace("cp.async.wait_group 	1;", "cp.async.wait_group 	2;")).expect_err("waits for too little");
    assert!(matches!(fault.kind, FaultKind::NotArrived | FaultKind::Uninitialised), "{fault}");
    let fault = launch(&text.replace("bar.sync 	0;", "")).expect_err("no barrier");
    assert!(matches!(fault.kind, FaultKind::Race | FaultKind::NotArrived), "{fault}");
}

#[test]
fn with_a_ring_of_tensor_copies() {
    // More steps than stages, so that the ring goes around.
    let depth = 64 * 6;
    let (a, b, product) = operands(depth);
    // This kernel takes the second operand by columns.
    let columns: Vec<bf16> = (0..TILE * depth).map(|e| b[e % depth * TILE + e / depth]).collect();
    let text = include_str!("ptx/matmul.sm_90a.ptx");
    let launch = |text: &str| -> Result<Vec<bf16>, Fault> {
        let mut device = Device::new();
        let (pa, pb, pc) = (upload(&mut device, &a), upload(&mut device, &columns), device.alloc(TILE * TILE * 2));
        let mut block = Vec::new();
        for address in [pa, pb] {
            let map = TensorMap {
                element: TensorType::Bf16,
                address,
                extents: vec![depth as u64, TILE as u64],
                strides: vec![2 * depth as u64],
                box_extents: vec![64, 128],
                element_strides: vec![1, 1],
                swizzle: Swizzle::B128,
            };
            block.extend(map.encode().expect("a right map"));
        }
        block.extend(pc.to_le_bytes());
        block.extend((TILE as u32).to_le_bytes());
        block.extend((depth as u32).to_le_bytes());
        let shared = 4 * 32768 + 64;
        device.launch(&module(text), "wgmma_mm", [1, 1, 1], [384, 1, 1], shared, &block)?;
        Ok(download(&device, pc, TILE * TILE))
    };
    assert_eq!(launch(text).unwrap_or_else(|e| panic!("{e}")), product);
    let fault = launch(&text.replace("wgmma.wait_group.sync.aligned 0;", "")).expect_err("no last wait");
    assert_eq!(fault.kind, FaultKind::NotArrived, "{fault}");
    let fault = launch(&text.replace("wgmma.fence.sync.aligned;", "")).expect_err("no fence");
    assert_eq!(fault.kind, FaultKind::Misuse, "{fault}");
    let fault = launch(
        &text
            .replace("mbarrier.try_wait.parity", "mbarrier.test_wait.parity")
            .replace("wgmma.wait_group.sync.aligned 1;", "wgmma.wait_group.sync.aligned 2;"),
    );
    let fault = fault.expect_err("the stage is released while it is read");
    assert!(matches!(fault.kind, FaultKind::Race | FaultKind::NotArrived), "{fault}");
}
