package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// summary counts the goals of the rows, and names the rows that missed a goal or are slower than
// the other library.
type summary struct {
	goals  int
	missed []string // a line of Markdown for each missed goal
	works  []comparison
}

// comparison has the ratios of the rows by number of callers of one work.
type comparison struct {
	work   string
	ratios []float64
}

// goal counts a goal. The name and the measured value are in the list if the goal was missed.
func (s *summary) goal(kept bool, name, measured, want string) string {
	s.goals++
	if kept {
		return yes
	}
	s.missed = append(s.missed, fmt.Sprintf("%s: %s, goal %s", name, measured, want))
	return no
}

// write prints the summary.
func (s *summary) write(w io.Writer) {
	fmt.Fprint(w, "\n## Summary\n\n")
	fmt.Fprintf(w, "%s, %d kept, %d missed", count(s.goals, "goal"), s.goals-len(s.missed), len(s.missed))
	if len(s.missed) == 0 {
		fmt.Fprint(w, ".\n")
	} else {
		fmt.Fprintf(w, ":\n\n- %s\n", strings.Join(s.missed, "\n- "))
	}
	if len(s.works) == 0 {
		return
	}
	fmt.Fprint(w, "\nThe ratios of the tables by number of callers. Above 1, Redstart is faster. The text below a table with slower rows\n"+
		"states the cause.\n\n| work | rows | faster | slower | least ratio | median ratio | greatest ratio |\n"+
		"|---|---|---|---|---|---|---|\n")
	for _, c := range s.works {
		slices.Sort(c.ratios)
		rows, slower := len(c.ratios), c.slower()
		fmt.Fprintf(w, "| %s | %d | %d | %d | %.3g× | %.3g× | %.3g× |\n", c.work, rows, rows-slower, slower,
			c.ratios[0], middleOf(c.ratios), c.ratios[rows-1])
	}
}

// slower returns the number of rows in which Redstart is slower.
func (c comparison) slower() (n int) {
	for _, ratio := range c.ratios {
		if ratio < 1 {
			n++
		}
	}
	return n
}

// printCause prints why Redstart is slower in rows of a work, or missed its goal there.
func printCause(w io.Writer, title string) {
	if text, ok := causes[title]; ok {
		fmt.Fprintf(w, "\nWhy Redstart is slower there, or misses its goal: %s\n", text)
	}
}
