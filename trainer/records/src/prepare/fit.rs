//! How a picture comes to a size of other proportions.

use image::{ImageBuffer, Luma, Pixel, Rgb, imageops, imageops::FilterType};

use super::picture::Picture;
use crate::Shape;

/// What is done with a picture whose proportions are not those wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Its proportions change.
    #[default]
    Stretch,
    /// What stands out on both sides is cut off: the middle stays.
    Cover,
    /// It stays whole, in the middle, and the rest is the background, black where none is chosen.
    Contain,
}

type Size = (u32, u32);

impl Picture {
    /// Resized to columns and rows. Bilinear with antialiasing: additions and multiplications only, so the same on every
    /// machine.
    pub(super) fn resized(self, (width, height): Size, fit: Fit, background: Option<[u8; 3]>) -> Self {
        if (self.shape.width, self.shape.height) == (width, height) {
            return self;
        }
        let border = background.unwrap_or_default();
        match self.shape.channels {
            1 if border == [border[0]; 3] => {
                resize::<Luma<u8>>(self, (width, height), fit, Luma([border[0]]))
            }
            _ => resize::<Rgb<u8>>(self.with_channels(3), (width, height), fit, Rgb(border)),
        }
    }
}

fn resize<P: Pixel<Subpixel = u8> + 'static>(picture: Picture, wanted: Size, fit: Fit, border: P) -> Picture {
    let Picture { shape: Shape { height, width, channels }, pixels } = picture;
    let image = ImageBuffer::<P, _>::from_raw(width, height, pixels);
    let image = image.expect("there are as many pixels as the size says");
    let resize = |image: &ImageBuffer<P, Vec<u8>>, (width, height): Size| {
        imageops::resize(image, width, height, FilterType::Triangle)
    };
    let image = match fit {
        Fit::Stretch => resize(&image, wanted),
        Fit::Cover => {
            let part = within((width, height), wanted);
            let (x, y) = middle((width, height), part);
            resize(&imageops::crop_imm(&image, x, y, part.0, part.1).to_image(), wanted)
        }
        Fit::Contain => {
            let part = within(wanted, (width, height));
            let (x, y) = middle(wanted, part);
            let mut whole = ImageBuffer::from_pixel(wanted.0, wanted.1, border);
            imageops::replace(&mut whole, &resize(&image, part), x.into(), y.into());
            whole
        }
    };
    let shape = Shape { height: wanted.1, width: wanted.0, channels };
    Picture { shape, pixels: image.into_raw() }
}

/// The largest size within `bounds` that has the proportions of `proportions`, to the nearest pixel and at least one.
fn within(bounds: Size, proportions: Size) -> Size {
    let [width, height, across, down] = [bounds.0, bounds.1, proportions.0, proportions.1].map(u64::from);
    let nearest = |product: u64, divisor: u64, most: u64| {
        ((2 * product + divisor) / (2 * divisor)).clamp(1, most) as u32
    };
    if width * down >= height * across {
        (nearest(height * across, down, width), bounds.1)
    } else {
        (bounds.0, nearest(width * down, across, height))
    }
}

/// Where `part` begins in the middle of `whole`; an odd pixel is left over at the end.
fn middle(whole: Size, part: Size) -> Size {
    ((whole.0 - part.0) / 2, (whole.1 - part.1) / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each column has its own value.
    fn columns(width: u32, height: u32) -> Picture {
        let pixels = (0..height).flat_map(|_| (0..width).flat_map(|x| [x as u8 * 10; 3])).collect();
        Picture { shape: Shape { height, width, channels: 3 }, pixels }
    }

    fn first_row(picture: &Picture) -> Vec<u8> {
        let width = picture.shape.width as usize;
        picture.pixels.as_chunks::<3>().0[..width].iter().map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn cover_keeps_the_middle_and_contain_the_whole() {
        let cover = columns(9, 4).resized((4, 4), Fit::Cover, None);
        assert_eq!(first_row(&cover), [20, 30, 40, 50]);
        let tall = columns(4, 9).resized((4, 4), Fit::Cover, None);
        assert_eq!(first_row(&tall), [0, 10, 20, 30]);
        let contain = columns(4, 2).resized((4, 5), Fit::Contain, Some([9, 9, 9]));
        let rows: Vec<_> = contain.pixels.chunks(12).map(|row| (row[0], row[11])).collect();
        assert_eq!(rows, [(9, 9), (0, 30), (0, 30), (9, 9), (9, 9)]);
        let stretched = columns(4, 2).resized((4, 5), Fit::Stretch, None);
        assert!(stretched.pixels.chunks(12).all(|row| (row[0], row[11]) == (0, 30)));
        assert_eq!(columns(4, 4).resized((4, 4), Fit::Contain, None), columns(4, 4));
    }

    #[test]
    fn a_grey_picture_gets_a_grey_border_or_becomes_one_in_colour() {
        let grey = || Picture { shape: Shape { height: 1, width: 1, channels: 1 }, pixels: vec![7] };
        let black = grey().resized((3, 1), Fit::Contain, None);
        assert_eq!((black.shape.channels, &black.pixels[..]), (1, &[0, 7, 0][..]));
        let red = grey().resized((3, 1), Fit::Contain, Some([200, 0, 0]));
        assert_eq!((red.shape.channels, &red.pixels[..]), (3, &[200, 0, 0, 7, 7, 7, 200, 0, 0][..]));
    }

    proptest! {
        #[test]
        fn every_fit_gives_the_size_wanted_and_one_colour_stays_that(
            (width, height) in (1_u32..40, 1_u32..40), wanted in (1_u32..40, 1_u32..40), value: u8,
        ) {
            let pixels = vec![value; (width * height * 3) as usize];
            for fit in [Fit::Stretch, Fit::Cover, Fit::Contain] {
                let picture = Picture { shape: Shape { height, width, channels: 3 }, pixels: pixels.clone() };
                let resized = picture.resized(wanted, fit, Some([value; 3]));
                prop_assert_eq!(resized.shape, Shape { height: wanted.1, width: wanted.0, channels: 3 });
                prop_assert_eq!(resized.pixels, vec![value; (wanted.0 * wanted.1 * 3) as usize]);
            }
        }

        /// No side is more than half a pixel from where the proportions would have it.
        #[test]
        fn proportions_are_kept_to_the_nearest_pixel(
            bounds in (1_u32..=16_384, 1_u32..=16_384), proportions in (1_u32..=16_384, 1_u32..=16_384),
        ) {
            let (width, height) = within(bounds, proportions);
            prop_assert!((1..=bounds.0).contains(&width) && (1..=bounds.1).contains(&height));
            prop_assert!(width == bounds.0 || height == bounds.1);
            let exact = f64::from(proportions.0) / f64::from(proportions.1);
            let (by_height, by_width) = (f64::from(height) * exact, f64::from(width) / exact);
            let near = (f64::from(width) - by_height).abs() <= 0.5 + 1e-6 || (f64::from(height) - by_width).abs() <= 0.5 + 1e-6;
            prop_assert!(near || width == 1 || height == 1, "{}x{}", width, height);
        }
    }
}
