use sha2::{Digest, Sha256};

use super::*;
use crate::flat::digest_values;
use crate::layer::{res_net_9, two_block};

const CIFAR: Shape = Shape { height: 32, width: 32, channels: 3 };

fn model() -> Model {
    Model::new(CIFAR, 10, &two_block(10)).unwrap()
}

#[test]
fn the_reference_has_591_658_trainable_parameters() {
    assert_eq!(model().trainable_parameters(), 591_658);
}

/// PyTorch loads the file by these names.
#[test]
fn tensors_have_pytorchs_names_and_layouts() {
    let model = model();
    let named = |name: &str| {
        let tensors = model.parameters().iter().chain(model.running_statistics());
        tensors.filter(|tensor| tensor.name == name).map(|tensor| tensor.dims.clone()).collect::<Vec<_>>()
    };
    assert_eq!(named("0.weight"), [[32, 3, 3, 3]]);
    assert_eq!(named("0.bias"), [[32]]);
    assert_eq!(named("2.running_var"), [[32]]);
    assert_eq!(named("11.weight"), [[64, 64, 3, 3]]);
    assert_eq!(named("17.weight"), [[128, 4096]]);
    assert_eq!(named("20.bias"), [[10]]);
    assert_eq!(model.parameters().len(), 4 * 4 + 4);
    assert_eq!(model.running_statistics().len(), 4 * 2);
}

#[test]
fn tensors_are_aligned_and_do_not_overlap() {
    let model = Model::new(Shape { height: 7, width: 5, channels: 2 }, 3, &odd_layers()).unwrap();
    for (tensors, len) in
        [(model.parameters(), model.parameter_len()), (model.running_statistics(), model.running_len())]
    {
        let mut end = 0;
        for tensor in tensors {
            assert_eq!(tensor.offset % 16, 0);
            assert!(tensor.offset >= end);
            assert_eq!(tensor.len, tensor.dims.iter().product::<usize>());
            end = tensor.range().end;
        }
        assert!(end <= len && len % 16 == 0);
    }
    assert_eq!(model.reduction_len(), model.parameter_len() + model.running_len() + 1);
}

fn odd_layers() -> Vec<Layer> {
    vec![
        Layer::Conv2D { filters: 5, kernel_size: 3 },
        Layer::BatchNorm { momentum: 0.9, epsilon: 1e-5 },
        Layer::MaxPool2D { size: 2 },
        Layer::Flatten,
        Layer::Dense { units: 3 },
    ]
}

/// The initial weights are part of every job's result.
#[test]
fn initial_weights_are_pinned_and_within_glorots_limit() {
    let model = model();
    let weights = model.initial_weights(42);
    for tensor in model.parameters().iter().filter(|tensor| tensor.dims.len() > 1) {
        let area: usize = tensor.dims[2..].iter().product();
        let limit = (6.0 / ((tensor.dims[0] + tensor.dims[1]) * area) as f64).sqrt();
        let values = &weights.parameters[tensor.range()];
        assert!(values.iter().all(|&value| f64::from(value).abs() <= limit * 1.000_001), "{}", tensor.name);
        let square_mean =
            values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / values.len() as f64;
        // The variance of a uniform distribution is limit^2 / 3; 4 of its standard errors are allowed.
        let error = 4.0 * (4.0 / 45.0 / values.len() as f64).sqrt() * limit * limit;
        assert!((square_mean - limit * limit / 3.0).abs() < error, "{}", tensor.name);
    }
    let scale = &model.parameters()[2];
    assert_eq!(scale.name, "2.weight");
    assert!(weights.parameters[scale.range()].iter().all(|&value| value == 1.0));
    assert!(weights.running[model.running_statistics()[1].range()].iter().all(|&value| value == 1.0));
    let mut digest = Sha256::new();
    digest_values(&mut digest, &weights.parameters);
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "2af1ab2761e8b1274e867bc8842151f454ed0eca519a001a293d2b2d9a81f106");
    assert_ne!(*model.initial_weights(43).parameters, *weights.parameters);
}

#[test]
fn wrong_layers_are_errors_that_name_the_layer() {
    let build = |layers: &[Layer]| Model::new(CIFAR, 10, layers).unwrap_err();
    let end = [Layer::Flatten, Layer::Dense { units: 10 }];
    let with = |layer: Layer| build(&[&[Layer::ReLU, layer], &end[..]].concat());
    let fields = [
        (Layer::Conv2D { filters: 0, kernel_size: 3 }, "filters"),
        (Layer::Conv2D { filters: 4, kernel_size: 2 }, "kernelSize"),
        (Layer::Conv2D { filters: 4, kernel_size: 0 }, "kernelSize"),
        (Layer::MaxPool2D { size: 0 }, "size"),
        (Layer::MaxPool2D { size: 33 }, "size"),
        (Layer::Dropout { rate: 1.0 }, "rate"),
        (Layer::Dropout { rate: f64::NAN }, "rate"),
        (Layer::BatchNorm { momentum: 1.5, epsilon: 1e-3 }, "momentum"),
        (Layer::BatchNorm { momentum: 0.9, epsilon: 0.0 }, "epsilon"),
    ];
    for (layer, wrong) in fields {
        match with(layer.clone()) {
            Error::OutOfRange { layer, field, .. } => assert_eq!((&*layer, field), ("1", wrong)),
            error => panic!("{layer:?}: {error}"),
        }
    }
    assert!(matches!(with(Layer::Dense { units: 3 }), Error::WrongInput { layer, .. } if layer == "1"));
    let after = |layer| build(&[end[0].clone(), layer]);
    assert!(matches!(after(Layer::Flatten), Error::WrongInput { layer, .. } if layer == "1"));
    assert!(matches!(after(Layer::MaxPool2D { size: 2 }), Error::WrongInput { layer, .. } if layer == "1"));
    assert!(matches!(after(Layer::Dense { units: 0 }), Error::OutOfRange { layer, .. } if layer == "1"));
    assert!(matches!(after(Layer::Dense { units: 9 }), Error::WrongOutput { .. }));
    assert!(matches!(build(&[]), Error::WrongOutput { .. }));
    let wide = Layer::Conv2D { filters: usize::MAX / 2, kernel_size: 3 };
    assert!(matches!(with(wide), Error::TooLarge { layer, .. } if layer == "1"));
    let endless = Layer::Conv2D { filters: 4, kernel_size: usize::MAX };
    assert!(matches!(with(endless), Error::TooLarge { layer, .. } if layer == "1"));
    let no_image = Shape { height: 0, ..CIFAR };
    assert!(matches!(Model::new(no_image, 10, &end), Err(Error::EmptyImage { .. })));
    assert!(matches!(Model::new(CIFAR, 1, &end), Err(Error::TooFewClasses { .. })));
    assert!(!build(&[]).is_retryable());
}

#[test]
fn layers_inside_a_residual_block_are_named_and_numbered_after_it() {
    let model = Model::new(CIFAR, 10, &res_net_9(10)).unwrap();
    let names: Vec<_> = model.parameters().iter().map(|tensor| &*tensor.name).collect();
    for name in ["0.weight", "3.bias", "7.0.weight", "7.4.bias", "8.weight", "16.3.weight", "18.bias"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert_eq!(model.running_statistics().len(), 2 * 8);
    assert_eq!(model.trainable_parameters(), 6_575_370);
    let Operation::Residual { stages } = &model.stages()[7].operation else { panic!() };
    assert_eq!(stages[0].input, Extent::Image(Shape { height: 16, width: 16, channels: 128 }));
    assert_eq!(stages[0].input, model.stages()[7].output);
    assert_eq!(model.stages()[18].input, Extent::Features(512));

    let dropout = || Layer::Dropout { rate: 0.5 };
    let layers = [
        dropout(),
        Layer::Residual { layers: vec![dropout(), dropout()] },
        dropout(),
        Layer::GlobalAveragePool2D,
        Layer::Dense { units: 10 },
    ];
    let model = Model::new(CIFAR, 10, &layers).unwrap();
    let stages = model.stages().iter().flat_map(|stage| match &stage.operation {
        Operation::Residual { stages } => stages.iter().collect(),
        _ => vec![stage],
    });
    let numbers: Vec<_> = stages
        .filter_map(|stage| match stage.operation {
            Operation::Dropout(rule) => Some(rule.layer),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [0, 2, 3, 4]);
    assert_eq!(model.first_trainable(), 4);
}

#[test]
fn residual_blocks_that_cannot_be_added_are_refused() {
    let residual = |layers: &[Layer]| Layer::Residual { layers: layers.to_vec() };
    let build = |layer| {
        let layers = [Layer::ReLU, layer, Layer::GlobalAveragePool2D, Layer::Dense { units: 10 }];
        Model::new(CIFAR, 10, &layers)
    };
    assert!(build(residual(&[Layer::ReLU])).is_ok());
    let wide = Layer::Conv2D { filters: 4, kernel_size: 3 };
    let wrong = [
        residual(&[]),
        residual(std::slice::from_ref(&wide)),
        residual(&[Layer::MaxPool2D { size: 2 }]),
        residual(&[Layer::Flatten]),
        residual(&[residual(&[Layer::ReLU])]),
    ];
    for layer in wrong {
        let error = build(layer).unwrap_err();
        assert!(!error.is_retryable());
        assert!(matches!(error, Error::Residual { ref layer, .. } if layer.starts_with('1')), "{error}");
    }
    let inside = build(residual(&[Layer::ReLU, Layer::Conv2D { filters: 4, kernel_size: 2 }]));
    assert!(matches!(inside, Err(Error::OutOfRange { layer, .. }) if layer == "1.1"));
}

#[test]
fn the_cut_lies_behind_the_last_convolution() {
    let model = model();
    let cut = model.reduction_cut();
    let after = model.parameters().iter().find(|tensor| tensor.offset >= cut).unwrap();
    assert_eq!((&*after.name, after.offset), ("13.weight", cut));
    // What leaves early is nearly all of it.
    assert!((model.reduction_len() - cut) * 10 > model.reduction_len() * 8);

    let end = [Layer::Flatten, Layer::Dense { units: 10 }];
    assert_eq!(Model::new(CIFAR, 10, &end).unwrap().reduction_cut(), 0);
    let inside = Layer::Residual { layers: vec![Layer::Conv2D { filters: 3, kernel_size: 3 }, Layer::ReLU] };
    let model = Model::new(CIFAR, 10, &[&[inside], &end[..]].concat()).unwrap();
    let after = model.parameters().iter().find(|tensor| tensor.offset >= model.reduction_cut()).unwrap();
    assert_eq!(after.name, "2.weight");
}
