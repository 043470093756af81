package work

import (
	"database/sql"
	"fmt"
	"os"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

func databases() []Workload {
	return []Workload{{
		Name: "sqlite", Title: "sqlite commits", Group: "sqlite", Goal: 0.55, Unit: "commits",
		Amount: func(t Task) float64 { return float64(t.Commits) },
		Setup:  createDatabase, Run: commitRows, Check: checkRows,
	}}
}

// openDatabase opens the database as sqlite does by default: with a rollback journal, and synced at each commit.
func openDatabase(t Task) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+t.at("sqlite", "data.db"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func createDatabase(t Task) error {
	if err := os.RemoveAll(t.at("sqlite")); err != nil {
		return err
	}
	if err := os.MkdirAll(t.at("sqlite"), 0o755); err != nil {
		return err
	}
	db, err := openDatabase(t)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(`CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)`)
	return err
}

func note(i int) string { return fmt.Sprintf("note %d, %x", i, noise()[i*16:i*16+64]) }

// commitRows makes a transaction of every row.
func commitRows(t Task, _ *Meter) error {
	db, err := openDatabase(t)
	if err != nil {
		return err
	}
	defer db.Close()
	for i := range t.Commits {
		if _, err := db.Exec(`INSERT INTO notes VALUES (?, ?)`, i, note(i)); err != nil {
			return fmt.Errorf("commit %d: %w", i, err)
		}
	}
	return db.Close()
}

func checkRows(t Task) error {
	db, err := openDatabase(t)
	if err != nil {
		return err
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("sqlite's own check says %q", verdict)
	}
	rows, err := db.Query(`SELECT id, text FROM notes ORDER BY id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var id int
		var text string
		if err := rows.Scan(&id, &text); err != nil {
			return err
		}
		if id != n || text != note(n) {
			return fmt.Errorf("row %d is %d, %q", n, id, text)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n != t.Commits {
		return fmt.Errorf("the database has %d rows, want %d", n, t.Commits)
	}
	return nil
}
