//! Tensor maps: how a tensor lies in global memory, and how a box of it lies in shared memory.
//!
//! The inputs are those of the driver's `cuTensorMapEncodeTiled`, and so are the rules. The 128 bytes mean something to
//! this interpreter only, as the hardware's do to the hardware only.

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TensorType {
    U8,
    U16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
    Bf16,
    F32Ftz,
    Tf32,
    Tf32Ftz,
}

impl TensorType {
    /// Its number in the driver's interface.
    pub const ALL: [TensorType; 13] = [
        TensorType::U8,
        TensorType::U16,
        TensorType::U32,
        TensorType::I32,
        TensorType::U64,
        TensorType::I64,
        TensorType::F16,
        TensorType::F32,
        TensorType::F64,
        TensorType::Bf16,
        TensorType::F32Ftz,
        TensorType::Tf32,
        TensorType::Tf32Ftz,
    ];

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            TensorType::U8 => 1,
            TensorType::U16 | TensorType::F16 | TensorType::Bf16 => 2,
            TensorType::U32
            | TensorType::I32
            | TensorType::F32
            | TensorType::F32Ftz
            | TensorType::Tf32
            | TensorType::Tf32Ftz => 4,
            TensorType::U64 | TensorType::I64 | TensorType::F64 => 8,
        }
    }
}

/// How the 16-byte pieces of rows are permuted in shared memory, so that columns lie in different banks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Swizzle {
    /// Not at all.
    #[default]
    None,
    /// In rows of 32 bytes.
    B32,
    /// In rows of 64 bytes.
    B64,
    /// In rows of 128 bytes.
    B128,
}

impl Swizzle {
    /// In the order of the driver's numbers.
    pub const ALL: [Swizzle; 4] = [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128];

    /// Bytes of a row; none without swizzle.
    pub fn row(self) -> Option<usize> {
        match self {
            Swizzle::None => None,
            Swizzle::B32 => Some(32),
            Swizzle::B64 => Some(64),
            Swizzle::B128 => Some(128),
        }
    }

    /// Where the byte at an address of shared memory really lies.
    pub fn apply(self, address: u64) -> u64 {
        let bits = match self {
            Swizzle::None => 0,
            Swizzle::B32 => 1,
            Swizzle::B64 => 3,
            Swizzle::B128 => 7,
        };
        address ^ (((address >> 7) & bits) << 4)
    }
}

/// A tensor and a box. Extents and strides are innermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// The element type.
    pub element: TensorType,
    /// Where the tensor begins: a multiple of 16.
    pub address: u64,
    /// Elements along each of one to five dimensions.
    pub extents: Vec<u64>,
    /// Bytes from one element to the next along each dimension but the innermost: multiples of 16.
    pub strides: Vec<u64>,
    /// Elements of a box along each dimension: at most 256.
    pub box_extents: Vec<u32>,
    /// Of how many elements of the box one is copied, along each dimension.
    pub element_strides: Vec<u32>,
    /// How a box lies in shared memory.
    pub swizzle: Swizzle,
}

/// What is wrong with a tensor map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tensor map: {0}")]
pub struct TensorMapError(String);

const MAGIC: u32 = 0x706d_5468;

impl TensorMap {
    /// A map from what the driver's function takes, the element type as its number, the swizzle as bytes of a row; `None`
    /// when there is no such type or swizzle.
    pub fn tiled(
        element: u32,
        address: u64,
        extents: &[u64],
        strides: &[u64],
        box_extents: &[u32],
        swizzle: u32,
    ) -> Option<TensorMap> {
        Some(TensorMap {
            element: *TensorType::ALL.get(element as usize)?,
            address,
            extents: extents.to_vec(),
            strides: strides.to_vec(),
            box_extents: box_extents.to_vec(),
            element_strides: vec![1; extents.len()],
            swizzle: Swizzle::ALL.into_iter().find(|s| s.row().unwrap_or(0) == swizzle as usize)?,
        })
    }

    /// The 128 bytes that a kernel is given.
    ///
    /// # Errors
    /// If the driver would refuse the map.
    pub fn encode(&self) -> Result<[u8; 128], TensorMapError> {
        self.check()?;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(MAGIC.to_le_bytes());
        bytes.push(TensorType::ALL.iter().position(|t| *t == self.element).unwrap_or(0) as u8);
        bytes.push(self.extents.len() as u8);
        bytes.push(Swizzle::ALL.iter().position(|s| *s == self.swizzle).unwrap_or(0) as u8);
        bytes.push(0);
        bytes.extend(self.address.to_le_bytes());
        let at = |list: &[u64], i: usize| list.get(i).copied().unwrap_or(0);
        (0..5).for_each(|i| bytes.extend(at(&self.extents, i).to_le_bytes()));
        (0..4).for_each(|i| bytes.extend(at(&self.strides, i).to_le_bytes()));
        let small = |list: &[u32], i: usize| list.get(i).copied().unwrap_or(0) as u16;
        (0..5).for_each(|i| bytes.extend(small(&self.box_extents, i).to_le_bytes()));
        (0..5).for_each(|i| bytes.push(small(&self.element_strides, i) as u8));
        let mut all = [0; 128];
        all[..bytes.len()].copy_from_slice(&bytes);
        Ok(all)
    }

    fn check(&self) -> Result<(), TensorMapError> {
        let wrong = |message: String| Err(TensorMapError(message));
        let rank = self.extents.len();
        let lists = [self.strides.len() + 1, self.box_extents.len(), self.element_strides.len()];
        if !(1..=5).contains(&rank) || lists != [rank; 3] {
            return wrong(format!(
                "{rank} extents (one to five), {lists:?} strides + 1, box extents and element strides"
            ));
        }
        if !self.address.is_multiple_of(16) {
            return wrong(format!("the address {:#x} is not a multiple of 16", self.address));
        }
        if let Some(e) = self.extents.iter().find(|e| !(1..=1 << 32).contains(*e)) {
            return wrong(format!("an extent of {e} elements; 1 to 2^32 are allowed"));
        }
        if let Some(s) = self.strides.iter().find(|s| !s.is_multiple_of(16) || **s >= 1 << 40) {
            return wrong(format!("a stride of {s} bytes; multiples of 16 below 2^40 are allowed"));
        }
        if let Some(b) = self.box_extents.iter().find(|b| !(1..=256).contains(*b)) {
            return wrong(format!("a box of {b} elements along a dimension; 1 to 256 are allowed"));
        }
        if let Some(s) = self.element_strides.iter().find(|s| !(1..=8).contains(*s)) {
            return wrong(format!("an element stride of {s}; 1 to 8 are allowed"));
        }
        let inner = self.box_extents[0] as usize * self.element.bytes();
        if !inner.is_multiple_of(16) {
            return wrong(format!("{inner} bytes in a row of the box; a multiple of 16 is needed"));
        }
        if let Some(row) = self.swizzle.row()
            && inner > row
        {
            return wrong(format!("{inner} bytes in a row of the box; the swizzle allows {row}"));
        }
        Ok(())
    }

    /// Reads the 128 bytes back; none if they are no tensor map.
    pub fn decode(bytes: &[u8; 128]) -> Option<TensorMap> {
        let number = |at: usize, size: usize| crate::memory::number(&bytes[at..at + size]);
        if number(0, 4) != u64::from(MAGIC) {
            return None;
        }
        let rank = usize::from(bytes[5]);
        let map = TensorMap {
            element: *TensorType::ALL.get(usize::from(bytes[4]))?,
            swizzle: *Swizzle::ALL.get(usize::from(bytes[6]))?,
            address: number(8, 8),
            extents: (0..rank.min(5)).map(|i| number(16 + 8 * i, 8)).collect(),
            strides: (0..rank.clamp(1, 5) - 1).map(|i| number(56 + 8 * i, 8)).collect(),
            box_extents: (0..rank.min(5)).map(|i| number(88 + 2 * i, 2) as u32).collect(),
            element_strides: (0..rank.min(5)).map(|i| u32::from(bytes[98 + i])).collect(),
        };
        map.check().ok().map(|()| map)
    }

    /// Elements of a box along each dimension as they are copied.
    pub(crate) fn copied(&self) -> Vec<usize> {
        self.box_extents.iter().zip(&self.element_strides).map(|(b, s)| b.div_ceil(*s) as usize).collect()
    }

    /// Bytes that a box has in shared memory.
    pub fn box_bytes(&self) -> usize {
        self.copied().iter().product::<usize>() * self.element.bytes()
    }

    /// Goes through a box at some coordinates, element by element: offset in the box (before swizzling), and address in
    /// global memory, which there is none of outside of the tensor.
    pub(crate) fn elements(&self, coords: &[i64], mut f: impl FnMut(usize, Option<u64>)) {
        let copied = self.copied();
        let rank = copied.len();
        let mut index = vec![0; rank];
        let bytes = self.element.bytes();
        for n in 0..copied.iter().product() {
            let mut address = Some(self.address);
            for d in 0..rank {
                let at = coords[d] + (index[d] * self.element_strides[d] as usize) as i64;
                let stride = if d == 0 { bytes as u64 } else { self.strides[d - 1] };
                let inside = at >= 0 && (at as u64) < self.extents[d];
                address = address.filter(|_| inside).map(|a| a.wrapping_add((at as u64).wrapping_mul(stride)));
            }
            f(n * bytes, address);
            for d in 0..rank {
                index[d] += 1;
                if index[d] < copied[d] {
                    break;
                }
                index[d] = 0;
            }
        }
    }
}
