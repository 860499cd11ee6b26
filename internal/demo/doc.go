// Package demo is the run of two hospitals that `kimberlite demo` shows, and
// the synthetic patients that it runs on.
//
// It guarantees that the data travels in the binary, so that the demo needs no
// file and no network. It must not reach below the public API for what a user
// could do through it. The command line calls it.
package demo
