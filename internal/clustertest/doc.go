// Package clustertest holds the tests of a deployment of real processes: the
// kimberlite command, several nodes in two regions on loopback, clients over
// the PostgreSQL protocol, and faults put in by a schedule that a seed repeats.
// Processes are killed and stopped, links between nodes are cut one way or both
// and slowed, disks are wiped and bytes flipped.
//
// What it checks: every tenant's history is linearisable (package porcupine
// decides), nothing acknowledged is lost and nothing refused took effect,
// replicas' chains and tables are equal, no node holds anything of a tenant of
// another region, and a quota counts once however many nodes are asked.
//
// It has no code but tests, and no package may import it. Environment
// variables: KIMBERLITE_SEED repeats a schedule, KIMBERLITE_SOAK_MINUTES makes
// it go on for so long, KIMBERLITE_CLUSTER_KEEP names a directory in which the
// nodes' data and logs stay.
package clustertest
