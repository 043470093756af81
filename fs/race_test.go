//go:build race

package fs

const raceDetector = true
