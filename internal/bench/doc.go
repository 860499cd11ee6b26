// Package bench compares Kimberlite with what it is judged against, A and B
// in turn in one run, since the machines it runs on are noisy: it reports
// medians of the pairs' ratios. `make bench` runs it and writes
// docs/benchmarks.md. All of it is in tests, so that it may import the engines
// that one package each imports in the product.
package bench
