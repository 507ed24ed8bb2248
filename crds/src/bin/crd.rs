//! Prints the CustomResourceDefinition as YAML; `make generate` keeps it in the chart.
fn main() -> Result<(), lockstep_crds::definition::Error> {
    print!("{}", lockstep_crds::definition::yaml()?);
    Ok(())
}
