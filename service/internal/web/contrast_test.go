package web_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// The colours of texts have a contrast of 4.5 on their grounds, and those of lines and borders of
// fields a contrast of 3, in light and dark (WCAG 2.2, AA).
func TestColoursHaveContrast(t *testing.T) {
	t.Parallel()
	css, err := os.ReadFile("assets/shop.css")
	if err != nil {
		t.Fatal(err)
	}
	themes := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllSubmatch(css, -1)
	if len(themes) != 2 {
		t.Fatalf("%d themes, want light and dark", len(themes))
	}
	for i, theme := range themes {
		colours := map[string]string{}
		for _, token := range regexp.MustCompile(`--([\w-]+): #(\w+);`).FindAllSubmatch(theme[1], -1) {
			colours[string(token[1])] = string(token[2])
		}
		for _, c := range []struct {
			front, ground string
			least         float64
		}{
			{"ink", "paper", 4.5}, {"ink", "card", 4.5}, {"ink", "critical-bed", 4.5}, {"quiet", "paper", 4.5}, {"quiet", "card", 4.5},
			{"accent", "paper", 4.5}, {"accent", "card", 4.5}, {"on-accent", "accent", 4.5}, {"good", "card", 4.5},
			{"warning", "card", 4.5}, {"critical", "paper", 4.5}, {"critical", "card", 4.5}, {"card", "critical", 4.5},
			{"field", "paper", 3}, {"field", "card", 3}, {"s1", "card", 3}, {"s2", "card", 3}, {"s3", "card", 3}, {"s4", "card", 3},
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

// luminance returns the relative luminance of a colour of three or six hexadecimal digits.
func luminance(t *testing.T, colour string) (sum float64) {
	t.Helper()
	if len(colour) == 3 {
		colour = string([]byte{colour[0], colour[0], colour[1], colour[1], colour[2], colour[2]})
	}
	if len(colour) != 6 {
		t.Fatalf("the colour %q is not one of the style", colour)
	}
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(colour[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		part := float64(n) / 255
		if part <= 0.03928 {
			part /= 12.92
		} else {
			part = math.Pow((part+0.055)/1.055, 2.4)
		}
		sum += weight * part
	}
	return sum
}
