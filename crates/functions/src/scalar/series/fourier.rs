//! The discrete Fourier transform of any length.
//!
//! Shape: powers of two by Cooley and Tukey's halving, other lengths by Bluestein's convolution. The
//! forward transform is not scaled, the inverse is divided by the length.

use std::f64::consts::{PI, TAU};
use std::ops::{Add, Mul, Sub};

/// A complex number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

impl Complex {
    fn unit(angle: f64) -> Complex {
        Complex { re: angle.cos(), im: angle.sin() }
    }

    fn conjugate(self) -> Complex {
        Complex { re: self.re, im: -self.im }
    }
}

impl Add for Complex {
    type Output = Complex;
    fn add(self, other: Complex) -> Complex {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Complex;
    fn sub(self, other: Complex) -> Complex {
        Complex { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Complex;
    fn mul(self, other: Complex) -> Complex {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// Transforms the values in place.
pub(super) fn transform(values: &mut [Complex], is_inverse: bool) {
    if values.len() < 2 {
        return;
    }
    // The inverse is the forward transform between two conjugations.
    if is_inverse {
        values.iter_mut().for_each(|value| *value = value.conjugate());
    }
    if values.len().is_power_of_two() {
        halving(values);
    } else {
        bluestein(values);
    }
    if is_inverse {
        let scale = 1.0 / values.len() as f64;
        values.iter_mut().for_each(|value| *value = Complex { re: value.re * scale, im: -value.im * scale });
    }
}

fn halving(values: &mut [Complex]) {
    let count = values.len();
    let shift = usize::BITS - count.trailing_zeros();
    for place in 0..count {
        let reversed = place.reverse_bits() >> shift;
        if place < reversed {
            values.swap(place, reversed);
        }
    }
    let roots: Vec<Complex> = (0..count / 2).map(|k| Complex::unit(-TAU * k as f64 / count as f64)).collect();
    let mut half = 1;
    while half < count {
        let step = count / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (left, right) = block.split_at_mut(half);
            for (k, (left, right)) in left.iter_mut().zip(right).enumerate() {
                let turned = *right * roots[k * step];
                (*left, *right) = (*left + turned, *left - turned);
            }
        }
        half *= 2;
    }
}

fn bluestein(values: &mut [Complex]) {
    let count = values.len();
    let size = (2 * count - 1).next_power_of_two();
    // k^2 modulo 2n keeps the angle small, and with it exact.
    let chirp: Vec<Complex> = (0..count)
        .map(|k| Complex::unit(-PI * ((k as u128 * k as u128) % (2 * count as u128)) as f64 / count as f64))
        .collect();
    let mut left = vec![Complex::default(); size];
    let mut right = vec![Complex::default(); size];
    for k in 0..count {
        left[k] = values[k] * chirp[k];
        right[k] = chirp[k].conjugate();
        right[(size - k) % size] = right[k];
    }
    transform(&mut left, false);
    transform(&mut right, false);
    for (left, right) in left.iter_mut().zip(&right) {
        *left = *left * *right;
    }
    transform(&mut left, true);
    for k in 0..count {
        values[k] = left[k] * chirp[k];
    }
}

/// Sums of the products of the values with themselves at every distance from 0 to `most`.
pub(super) fn autocorrelation(values: &[f64], most: usize) -> Vec<f64> {
    let size = (values.len() + most + 1).next_power_of_two();
    let mut padded = vec![Complex::default(); size];
    for (place, value) in values.iter().enumerate() {
        padded[place].re = *value;
    }
    transform(&mut padded, false);
    padded.iter_mut().for_each(|value| *value = *value * value.conjugate());
    transform(&mut padded, true);
    padded.iter().take(most + 1).map(|value| value.re).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_transformed_as_the_definition_says_and_back() {
        for count in [0usize, 1, 2, 3, 4, 5, 8, 12, 17, 64, 100, 127] {
            let values: Vec<Complex> = (0..count)
                .map(|k| Complex { re: ((k * 7919) % 101) as f64 / 10.0, im: ((k * 104729) % 37) as f64 - 18.0 })
                .collect();
            let mut found = values.clone();
            transform(&mut found, false);
            for (k, found) in found.iter().enumerate() {
                let expected = values.iter().enumerate().fold(Complex::default(), |sum, (j, value)| {
                    sum + *value * Complex::unit(-TAU * ((j * k) % count) as f64 / count as f64)
                });
                assert!((found.re - expected.re).abs() < 1e-9 && (found.im - expected.im).abs() < 1e-9, "{count} {k}");
            }
            transform(&mut found, true);
            for (found, expected) in found.iter().zip(&values) {
                assert!((found.re - expected.re).abs() < 1e-10 && (found.im - expected.im).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn autocorrelation_is_the_sum_of_products() {
        let values = [1.0, -2.0, 3.5, 0.0, 4.0, 1.0];
        for (lag, found) in autocorrelation(&values, 3).into_iter().enumerate() {
            let expected: f64 = (0..values.len() - lag).map(|k| values[k] * values[k + lag]).sum();
            assert!((found - expected).abs() < 1e-9);
        }
    }
}
