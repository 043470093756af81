package sim

// Shrink looks for a smaller history that violates the same property as one that was run: with
// less going wrong, and as short as it can be cut off. Since each concern has its own source
// of chance, what is left out of one leaves the others as they were. The result has a trace.
func Shrink(r Result, o Options) (Result, error) {
	plan, _ := PlanOf(r.Plan, r.Seed)
	o.Trace = false
	for _, leave := range []func(*Plan){
		func(p *Plan) { p.rates = [faults]int{} },
		func(p *Plan) { p.crashes, p.power, p.disks = false, false, false },
		func(p *Plan) { p.cutoff, p.restore, p.roles = false, false, false },
		func(p *Plan) { p.holds = false },
		func(p *Plan) { p.chunks = false },
	} {
		less := plan
		leave(&less)
		if try, err := Run(r.Seed, less, o); err == nil && try.Property == r.Property {
			plan = less
		}
	}
	steps := o.Steps
	if steps == 0 {
		steps = defaultSteps
	}
	for o.Steps = 1; o.Steps < steps; o.Steps++ {
		if try, err := Run(r.Seed, plan, o); err == nil && try.Property == r.Property {
			break
		}
	}
	o.Trace = true
	return Run(r.Seed, plan, o)
}
