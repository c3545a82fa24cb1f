//go:build race

package shards

const raceDetector = true
