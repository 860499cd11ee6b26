// Package pki is the certificate authority of a deployment and the
// certificates by which its nodes prove who they are to each other.
//
// It guarantees that a certificate which [Bundle.Verify] believes was signed
// by an authority of the bundle, is in force, and names exactly one node of
// one deployment and its region, in its only URI among the alternative names
// (what else stands there are hosts, for clients):
//
//	kimberlite://<deployment>/node/<id>?region=<region>
//
// and that an authority signs for its own deployment alone: its certificate
// says so in a critical name constraint. Keys are ECDSA on P-256, made and
// used by Go's own cryptography, also where GODEBUG=fips140=only.
//
// It must not know about connections, nor decide who is a member: whoever
// holds an authority answers for the identity that it signs, and package peer
// asks whether a proven node is still welcome. Package peer verifies with it;
// package cluster signs, renews and stores.
package pki
