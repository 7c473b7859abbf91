//! A look-up costs a few hash look-ups, however many rules there are.

use std::hint::black_box;

use bench_micro::table;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn route(criterion: &mut Criterion) {
    for (name, host, path) in [
        ("exact", "host-3.example.com", "/api/v1/users/7"),
        ("wildcard", "a.b.wild-4.example.com", "/index.html"),
        ("none", "nobody.example.org", "/a/b/c/d/e/f"),
    ] {
        let mut group = criterion.benchmark_group(name);
        for count in [10, 1_000, 10_000] {
            let table = table(count);
            group.bench_with_input(BenchmarkId::from_parameter(count), &table, |bencher, table| {
                bencher.iter(|| table.find(black_box(host), black_box(path)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, route);
criterion_main!(benches);
