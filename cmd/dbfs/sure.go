package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

// sure returns nil if somebody wants what cannot be taken back: by --yes, or by the answer to
// a question on a terminal.
func (t *tool) sure(yes bool, what string) error {
	if yes {
		return nil
	}
	if !t.inTerm || !t.errTerm || t.json {
		return control.WithHint(control.Errorf(control.ErrUsage, "this would %s", what), "say so with --yes")
	}
	fmt.Fprintf(t.errs, "This will %s. Go on? [y/N] ", what)
	answer, _ := bufio.NewReader(t.in).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a == "y" || a == "yes" {
		return nil
	}
	return control.Errorf(control.ErrUsage, "nothing was done")
}
