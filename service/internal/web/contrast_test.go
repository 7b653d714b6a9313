package web_test

import "testing"

// The colours of texts have a contrast of 4.5 on their grounds, and those of lines and borders of
// fields a contrast of 3, in light and dark (WCAG 2.2, AA).
func TestColoursHaveContrast(t *testing.T) {
	t.Parallel()
	for i, colours := range themes(t) {
		for _, c := range []struct {
			front, ground string
			least         float64
		}{
			{"ink", "paper", 4.5}, {"ink", "card", 4.5}, {"ink", "critical-bed", 4.5}, {"ink", "good-bed", 4.5},
			{"quiet", "paper", 4.5}, {"quiet", "card", 4.5}, {"quiet", "good-bed", 4.5},
			{"accent", "paper", 4.5}, {"accent", "card", 4.5}, {"on-accent", "accent", 4.5},
			{"good", "card", 4.5}, {"good", "paper", 4.5}, {"good", "critical-bed", 4.5}, {"card", "good", 4.5},
			{"warning", "card", 4.5}, {"critical", "paper", 4.5}, {"critical", "card", 4.5},
			{"critical", "critical-bed", 4.5}, {"card", "critical", 4.5},
			{"s1", "paper", 4.5}, {"s1", "critical-bed", 4.5}, {"card", "s1", 4.5},
			{"field", "paper", 3}, {"field", "card", 3},
			{"s1", "card", 3}, {"s2", "card", 3}, {"s3", "card", 3}, {"s4", "card", 3},
		} {
			if got := contrast(t, colours[c.front], colours[c.ground]); got < c.least {
				t.Errorf("theme %d: --%s on --%s has a contrast of %.2f, want %g", i, c.front, c.ground, got, c.least)
			}
		}
	}
}

// contrast returns the contrast ratio of two colours, as WCAG defines it.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	light, dark := luminance(t, a), luminance(t, b)
	if light < dark {
		light, dark = dark, light
	}
	return (light + 0.05) / (dark + 0.05)
}

// luminance returns the relative luminance of a colour.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	rgb := linearOf(t, colour)
	return 0.2126*rgb[0] + 0.7152*rgb[1] + 0.0722*rgb[2]
}
