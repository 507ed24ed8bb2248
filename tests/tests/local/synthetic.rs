//! Images that are the same on every machine: for each of ten classes a pattern of its own, under noise.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use crate::lockstep::{Data, lockstep, text};

const CLASSES: usize = 10;

/// Size and number of the images.
#[derive(Clone, Copy)]
pub(crate) struct Images {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Training images of a class.
    pub(crate) training: usize,
    /// Test images of a class.
    pub(crate) test: usize,
}

/// Makes the images and converts them into `folder`, unless that was done before.
pub(crate) fn prepare(images: Images, folder: &Path) -> Result<Data> {
    let data = Data { folder: folder.into() };
    if folder.join("test/dataset.json").exists() {
        return Ok(data);
    }
    let source = tempfile::tempdir()?;
    for (split, count) in [("train", images.training), ("test", images.test)] {
        for class in 0..CLASSES {
            let class_folder = source.path().join(split).join(class.to_string());
            fs::create_dir_all(&class_folder)?;
            for number in 0..count {
                let seed = (class * 1000 + number) as u64 * 2 + u64::from(split == "test");
                fs::write(class_folder.join(format!("{number:03}.bmp")), images.bitmap(class, seed))?;
            }
        }
    }
    let output = lockstep([
        "prepare".as_ref(),
        "image-folder".as_ref(),
        source.path().as_os_str(),
        folder.as_os_str(),
    ])
    .output()?;
    ensure!(output.status.success(), "lockstep prepare failed: {}", text(&output.stderr));
    Ok(data)
}

impl Images {
    /// A BMP file: rows from the bottom, three bytes a pixel, rows of whole four bytes.
    fn bitmap(&self, class: usize, seed: u64) -> Vec<u8> {
        const HEADER: u32 = 54;
        let row_bytes = (self.width * 3).next_multiple_of(4);
        let pixel_bytes = (row_bytes * self.height) as u32;
        let mut file = b"BM".to_vec();
        // Of the file: size, reserved, where the pixels begin; of the image: size of this part, width, height.
        for field in [HEADER + pixel_bytes, 0, HEADER, 40, self.width as u32, self.height as u32] {
            file.extend(field.to_le_bytes());
        }
        file.extend([1, 0, 24, 0]); // one plane, 24 bits a pixel
        for field in [0, pixel_bytes, 2835, 2835, 0, 0] {
            file.extend(u32::to_le_bytes(field));
        }
        // A linear congruential generator's upper bits (D. Knuth's MMIX).
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for row in 0..self.height {
            for place in 0..row_bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let pattern = (row * (class + 1) + place * (CLASSES - class)) % 16 * 8;
                file.push((state >> 57) as u8 + pattern as u8);
            }
        }
        file
    }
}
