//go:build !race

package triggers

const raceDetector = false
