package browser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

// maxAnimation is the size of the animated picture in bytes.
const maxAnimation = 2 << 20

// TestPicturesOfTheREADME makes the pictures of README: two of stories, and an animated one of an
// outage. It writes them to the folder artifacts, or with REDSTART_PICTURES=1 to docs (make
// pictures).
func TestPicturesOfTheREADME(t *testing.T) {
	urls, chrome := shops(t, 1, "REDIS_COMMAND_TIMEOUT=500ms"), chrome(t)
	dir, history, shortest := filepath.Join("..", "..", "artifacts"), 12, 3
	if os.Getenv("REDSTART_PICTURES") != "" {
		dir, history, shortest = filepath.Join("..", "..", "docs"), 32, 6
	}
	write := func(name string, data []byte) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	v := ada(t, chrome, "Ada", urls[0]).expect("503")
	v.media("prefers-color-scheme", "light", "prefers-reduced-motion", "reduce")

	v.fill("#traffic-seconds", "120")
	v.click("#traffic button")
	for _, n := range []int{history / 2, history} { // the charts have a history, and the caches are warm
		v.until(fmt.Sprint(samples, " >= ", n))
	}
	v.click("#limit-one")
	v.until(text("limit-headers") + `.includes("Status: 200")`)
	v.click("#read-a")
	v.until(`document.querySelectorAll("#read-steps [data-place]").length === 5`)
	v.click("#rename button")
	v.until(`document.getElementById("rename-result").dataset.gone === "true"`)
	v.click("#readers")
	v.until(`document.getElementById("readers-result").dataset.loads === "1"`)
	write("shop-cache.png", v.section("cache"))
	v.click("#lock-pause")
	v.until(lastStep("lock-steps", "refused"))
	write("shop-lock.png", v.section("lock"))

	v.do(chromedp.EmulateViewport(1100, 720)) // the bar with the button that stops Redis, and the first section
	var frames []image.Image
	film := func(until string) {
		t.Helper()
		for seconds := 0; seconds < shortest || v.ask("String(Boolean("+until+"))") != "true"; seconds++ {
			before := v.ask("String(" + samples + ")")
			v.until(samples + " > " + before)
			frames = append(frames, decodedPNG(t, v.window()))
		}
	}
	film("true")
	v.click("#break")
	film(`document.getElementById("state").dataset.breaker === "open"`)
	v.click("#break")
	film(`!document.getElementById("recovery").hidden`)

	data := animated(t, frames)
	if len(data) > maxAnimation {
		t.Errorf("the animation of %d frames has %d bytes, the limit is %d", len(frames), len(data), maxAnimation)
	}
	write("shop.gif", data)
}

// section returns a screenshot of a section. The sticky bar is at the top of the page.
func (v *visitor) section(id string) []byte {
	v.t.Helper()
	return v.screenshot(chromedp.Screenshot("section#" + id))
}

// window returns a screenshot of the top of the page.
func (v *visitor) window() []byte {
	v.t.Helper()
	return v.screenshot(chromedp.CaptureScreenshot())
}

func (v *visitor) screenshot(of chromedp.Action[[]byte]) []byte {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	v.do(chromedp.Evaluate[chromedp.Void](`scrollTo({ top: 0, behavior: "instant" })`))
	data, err := chromedp.Run(ctx, of)
	if err != nil {
		v.t.Fatal(err)
	}
	return data
}

func decodedPNG(t *testing.T, data []byte) image.Image {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// animated encodes frames as an animation. Each frame has one palette of the most frequent colours,
// and only the rectangle that changed since the frame before.
func animated(t *testing.T, frames []image.Image) []byte {
	t.Helper()
	area := frames[0].Bounds()
	colours := paletteOf(frames)
	nearest := map[color.RGBA]uint8{}
	var film gif.GIF
	var before *image.Paletted
	for _, frame := range frames {
		now := image.NewPaletted(area, colours)
		for y := range area.Dy() {
			for x := range area.Dx() {
				c := at(frame, x, y)
				index, known := nearest[c]
				if !known {
					index = uint8(colours.Index(c))
					nearest[c] = index
				}
				now.SetColorIndex(x, y, index)
			}
		}
		changed := area
		if before != nil {
			changed = changedArea(before, now)
		}
		film.Image = append(film.Image, now.SubImage(changed).(*image.Paletted))
		film.Delay = append(film.Delay, 60) // in units of 10 ms
		film.Disposal = append(film.Disposal, gif.DisposalNone)
		before = now
	}
	film.Delay[len(film.Delay)-1] = 300
	film.Config = image.Config{ColorModel: colours, Width: area.Dx(), Height: area.Dy()}
	var out bytes.Buffer
	if err := gif.EncodeAll(&out, &film); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// at returns a colour of a frame.
func at(frame image.Image, x, y int) color.RGBA {
	r, g, b, _ := frame.At(x, y).RGBA()
	return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
}

// paletteOf returns the 256 most frequent colours of all frames.
func paletteOf(frames []image.Image) color.Palette {
	counts := map[color.RGBA]int{}
	for _, frame := range frames {
		for y := range frame.Bounds().Dy() {
			for x := range frame.Bounds().Dx() {
				counts[at(frame, x, y)]++
			}
		}
	}
	all := make([]color.RGBA, 0, len(counts))
	for c := range counts {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int { return counts[b] - counts[a] })
	var colours color.Palette
	for _, c := range all[:min(len(all), 256)] {
		colours = append(colours, c)
	}
	return colours
}

// changedArea returns the smallest rectangle with all pixels that differ, one pixel if none does.
func changedArea(a, b *image.Paletted) image.Rectangle {
	area := image.Rectangle{}
	for y := range a.Rect.Dy() {
		for x := range a.Rect.Dx() {
			if a.ColorIndexAt(x, y) != b.ColorIndexAt(x, y) {
				area = area.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	if area.Empty() {
		return image.Rect(0, 0, 1, 1)
	}
	return area
}
