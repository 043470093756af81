package work

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const changeNames = 5 // the first changes are new files, the others new contents

func changes() []Workload {
	return []Workload{{
		Name: "change", Title: "see a change of another mount", Group: "change", Unit: "changes", Pair: true,
		Amount: func(Task) float64 { return 1 },
		Setup:  func(t Task) error { return os.MkdirAll(t.at("change"), 0o755) },
		Run:    seeChanges,
	}}
}

// seeChanges writes files here, and takes the time from each close until the other mount reads the new bytes.
func seeChanges(t Task, m *Meter) error {
	for i := range t.Changes {
		name, text := fmt.Sprintf("note%d", i%changeNames), fmt.Sprintf("change %d", i)
		if err := os.WriteFile(t.at("change", name), []byte(text), 0o644); err != nil {
			return err
		}
		start := time.Now()
		if err := await(filepath.Join(t.Other, "change", name), text, t.Patience); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
		m.add(time.Since(start))
	}
	return nil
}

// await looks every millisecond.
func await(name, text string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		got, err := os.ReadFile(name)
		if err == nil && string(got) == text {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not seen on the other mount within %v", patience)
		}
		time.Sleep(time.Millisecond)
	}
}
