package web_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// blindness are the matrices of Machado, Oliveira and Fernandes (2009) for the three kinds of
// complete colour blindness, for linear RGB.
var blindness = map[string][3][3]float64{
	"protanopia":   {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deuteranopia": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
	"tritanopia":   {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
}

// themes returns the colours of the style by name, of the light and of the dark theme.
func themes(t *testing.T) []map[string]string {
	t.Helper()
	css, err := os.ReadFile("assets/shop.css")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllSubmatch(css, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d themes, want light and dark", len(blocks))
	}
	var all []map[string]string
	for _, block := range blocks {
		colours := map[string]string{}
		for _, token := range regexp.MustCompile(`--([\w-]+): #(\w+);`).FindAllSubmatch(block[1], -1) {
			colours[string(token[1])] = string(token[2])
		}
		all = append(all, colours)
	}
	return all
}

// The colours of the four series differ for readers with each kind of colour blindness, by 20 in
// CIE Lab. Two colours that touch are distinguishable from a difference of about 2.
func TestSeriesDifferForColourBlindReaders(t *testing.T) {
	t.Parallel()
	for i, colours := range themes(t) {
		series := []string{"s1", "s2", "s3", "s4"}
		for kind, matrix := range blindness {
			for k, a := range series {
				for _, b := range series[k+1:] {
					if got := difference(seen(t, colours[a], matrix), seen(t, colours[b], matrix)); got < 20 {
						t.Errorf("theme %d: --%s and --%s differ by %.1f with %s, want 20", i, a, b, got, kind)
					}
				}
			}
		}
	}
}

// seen returns a colour in CIE Lab as a reader with this kind of colour blindness sees it.
func seen(t *testing.T, colour string, matrix [3][3]float64) [3]float64 {
	t.Helper()
	linear := linearOf(t, colour)
	var rgb [3]float64
	for i, row := range matrix {
		for k, weight := range row {
			rgb[i] += weight * linear[k]
		}
		rgb[i] = min(max(rgb[i], 0), 1)
	}

	f := func(v float64) float64 {
		if v > 0.008856 {
			return math.Cbrt(v)
		}
		return 7.787*v + 16.0/116
	}
	x := f((0.4124*rgb[0] + 0.3576*rgb[1] + 0.1805*rgb[2]) / 0.95047)
	y := f(0.2126*rgb[0] + 0.7152*rgb[1] + 0.0722*rgb[2])
	z := f((0.0193*rgb[0] + 0.1192*rgb[1] + 0.9505*rgb[2]) / 1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

// difference returns the distance of two colours in CIE Lab.
func difference(a, b [3]float64) float64 {
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}

// linearOf returns the linear RGB values of a colour of three or six hexadecimal digits.
func linearOf(t *testing.T, colour string) (rgb [3]float64) {
	t.Helper()
	if len(colour) == 3 {
		colour = string([]byte{colour[0], colour[0], colour[1], colour[1], colour[2], colour[2]})
	}
	if len(colour) != 6 {
		t.Fatalf("the colour %q is not one of the style", colour)
	}
	for i := range rgb {
		n, err := strconv.ParseUint(colour[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		rgb[i] = float64(n) / 255
		if rgb[i] <= 0.03928 {
			rgb[i] /= 12.92
		} else {
			rgb[i] = math.Pow((rgb[i]+0.055)/1.055, 2.4)
		}
	}
	return rgb
}
