package report

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// colours tell the systems apart, also to those who see few colours (after Okabe and Ito).
var colours = []color.Color{
	color.RGBA{0, 0, 0, 255}, color.RGBA{230, 159, 0, 255}, color.RGBA{240, 200, 90, 255},
	color.RGBA{0, 114, 178, 255}, color.RGBA{86, 180, 233, 255}, color.RGBA{213, 94, 0, 255},
	color.RGBA{0, 158, 115, 255}, color.RGBA{204, 121, 167, 255}, color.RGBA{120, 120, 120, 255},
}

// Plot draws what there is to draw into files of a directory, and returns their names.
func (r *Results) Plot(dir string) ([]string, error) {
	var files []string
	save := func(name string, p *plot.Plot, width, height vg.Length) error {
		file := filepath.Join(dir, name)
		if err := p.Save(width, height, file); err != nil {
			return fmt.Errorf("plot %s: %w", file, err)
		}
		files = append(files, file)
		return nil
	}
	if works := r.compared(); len(works) > 0 {
		p, err := r.plotRatios(works)
		if err != nil {
			return files, err
		}
		if err := save("speed.svg", p, vg.Length(4+2*len(works))*vg.Centimeter, 14*vg.Centimeter); err != nil {
			return files, err
		}
	}
	if p, err := r.plotMemory(); err != nil {
		return files, err
	} else if p != nil {
		if err := save("memory.svg", p, 18*vg.Centimeter, 10*vg.Centimeter); err != nil {
			return files, err
		}
	}
	for _, w := range r.curves() {
		p, err := r.plotGrowth(w)
		if err != nil {
			return files, err
		}
		if err := save("growth-"+w.Name+".svg", p, 18*vg.Centimeter, 12*vg.Centimeter); err != nil {
			return files, err
		}
	}
	return files, nil
}

// plotRatios draws a group of bars for every workload, on a logarithmic scale: peers are slower by factors.
func (r *Results) plotRatios(works []Work) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = "Speed relative to the bare disk"
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = ratioTicks{}
	p.Y.Min, p.Y.Max = lowest, 2
	p.Add(plotter.NewGrid())
	systems := r.rivals()
	width := vg.Length(1.5) * vg.Centimeter / vg.Length(max(1, len(systems)))
	for i, s := range systems {
		values := make(plotter.Values, len(works))
		for j, w := range works {
			if ratio := r.Cell(s.Name, w, 0).Ratio; ratio > 0 {
				values[j] = max(lowest*1.1, ratio) // slower is drawn as a stump
				p.Y.Max = max(p.Y.Max, ratio*1.2)
			}
		}
		b := bars{values: values, width: width, color: r.colour(s.Name), offset: width * (vg.Length(i) - vg.Length(len(systems))/2)}
		p.Add(b)
		p.Legend.Add(s.Name, b)
	}
	goals := &plotter.Scatter{}
	for j, w := range works {
		if w.Goal > 0 {
			goals.XYs = append(goals.XYs, plotter.XY{X: float64(j), Y: w.Goal})
		}
	}
	if len(goals.XYs) > 0 {
		s, err := plotter.NewScatter(goals.XYs)
		if err != nil {
			return nil, err
		}
		s.GlyphStyle = draw.GlyphStyle{Color: color.Black, Radius: vg.Points(4), Shape: draw.PyramidGlyph{}}
		p.Add(s)
		p.Legend.Add("goal for dbfs", s)
	}
	names := make([]string, len(works))
	for j, w := range works {
		names[j] = w.Name
	}
	p.NominalX(names...)
	p.X.Max += 2 // room for the legend
	p.X.Tick.Label.Rotation = 0.5
	p.X.Tick.Label.XAlign = -0.9
	legend(p)
	return p, nil
}

// bars are drawn from the bottom of the plot up to a value, one for each place on the X axis. gonum's own start
// at zero, which a logarithmic scale does not have.
type bars struct {
	values plotter.Values
	width  vg.Length
	offset vg.Length // of the left edge
	color  color.Color
}

// Plot is plot.Plotter's.
func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, v := range b.values {
		if v <= 0 {
			continue // not known
		}
		left, top := x(float64(i))+b.offset, y(v)
		c.FillPolygon(b.color, []vg.Point{{X: left, Y: c.Min.Y}, {X: left, Y: top}, {X: left + b.width, Y: top}, {X: left + b.width, Y: c.Min.Y}})
	}
}

// DataRange is plot.DataRanger's: groups keep half a place to the left and the right.
func (b bars) DataRange() (xmin, xmax, ymin, ymax float64) {
	return -0.5, float64(len(b.values)) - 0.5, lowest, 1
}

// Thumbnail is plot.Thumbnailer's.
func (b bars) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.color, []vg.Point{c.Min, {X: c.Min.X, Y: c.Max.Y}, c.Max, {X: c.Max.X, Y: c.Min.Y}})
}

// lowest is the lowest ratio that is drawn.
const lowest = 0.005

// rivals are all but the bare disk, which would be a row of ones.
func (r *Results) rivals() []System {
	var list []System
	for _, s := range r.Measured() {
		if s.Name != Bare {
			list = append(list, s)
		}
	}
	return list
}

// colour is that of a system, the same in every plot.
func (r *Results) colour(system string) color.Color {
	for i, s := range r.Systems {
		if s.Name == system {
			return colours[i%len(colours)]
		}
	}
	return color.Black
}

type ratioTicks struct{}

func (ratioTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, v := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100} {
		if v >= low && v <= high {
			ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprint(v)})
		}
	}
	return ticks
}

// plotMemory draws the peaks; nil when none is known.
func (r *Results) plotMemory() (*plot.Plot, error) {
	var names []string
	var values plotter.Values
	for _, s := range r.Measured() {
		if peak := r.Peak(s.Name); peak > 0 {
			names = append(names, s.Name)
			values = append(values, float64(peak)/(1<<20))
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	p := plot.New()
	p.Title.Text = "Memory of the mount's processes, at most"
	p.Y.Label.Text = "MiB"
	p.Y.Min = 0
	bars, err := plotter.NewBarChart(values, vg.Centimeter)
	if err != nil {
		return nil, err
	}
	bars.Color, bars.LineStyle.Width = colours[3], 0
	p.Add(plotter.NewGrid(), bars)
	p.NominalX(names...)
	p.X.Min, p.X.Max, p.Y.Max = -0.5, float64(len(names))-0.5, p.Y.Max*1.1
	return p, nil
}

// legend puts it into the right upper corner.
func legend(p *plot.Plot) {
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(3)
	p.Legend.XOffs, p.Legend.YOffs = -vg.Points(6), -vg.Points(6)
}

// plotGrowth draws the time for a file, or a MiB, over how many there were.
func (r *Results) plotGrowth(w Work) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = w.Title + ", as the work grows"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.X.Label.Text, p.Y.Label.Text = "files", "µs a file"
	if w.Per == "bytes" {
		p.X.Label.Text, p.Y.Label.Text = "MiB", "µs a MiB"
	}
	p.Add(plotter.NewGrid())
	for _, s := range r.Measured() {
		var line plotter.XYs
		for _, x := range r.grown(w.Name) {
			if c := r.Cell(s.Name, w, x); c.Seconds > 0 {
				n := units(w, x)
				line = append(line, plotter.XY{X: n, Y: c.Seconds * 1e6 / n})
			}
		}
		if len(line) == 0 {
			continue
		}
		l, points, err := plotter.NewLinePoints(line)
		if err != nil {
			return nil, err
		}
		l.Color, l.Width, points.Color = r.colour(s.Name), vg.Points(1.5), r.colour(s.Name)
		p.Add(l, points)
		p.Legend.Add(s.Name, l, points)
	}
	p.X.Min, p.X.Max = p.X.Min/1.5, p.X.Max*8 // room for the legend
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(p.Y.Min))), math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
	legend(p)
	return p, nil
}
