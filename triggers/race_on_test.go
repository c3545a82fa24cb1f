//go:build race

package triggers

const raceDetector = true
