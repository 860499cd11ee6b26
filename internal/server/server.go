// Package server makes a running server of a configuration.
package server
