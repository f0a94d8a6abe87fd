"""Colours by role, light and dark, and the stylesheet that turns one into the other.

Charts are drawn in the light colours. Each is the colour of one role only, so a rule for each (`[fill="#0b6e99"]` →
`var(--series-1)`) recolours every chart, and an SVG that is taken out of the page still looks right on white.
Series colours are told apart under the three common kinds of colour blindness (their lightness differs too); text has a
contrast of 4.5 or more against what it stands on.
"""

from __future__ import annotations

LIGHT: dict[str, str] = {
    "paper": "#fbfaf6",
    "raised": "#fffffe",
    "sunken": "#f2f0e8",
    "ink": "#1a1d21",
    "soft": "#565b66",
    "line": "#d9d5c9",
    "grid": "#e8e5db",
    "accent": "#0a5c7c",
    "wash": "#e2eef1",
    "good": "#1b7046",
    "bad": "#b0361c",
    "series-1": "#0b6e99",
    "series-2": "#cf5a20",
    "series-3": "#2a8a5c",
    "series-4": "#8a56ad",
    "series-5": "#a87c00",
    "series-6": "#c1447a",
    "pale": "#a9b4ba",
    "step-0": "#f0f2ee",
    "step-1": "#dceae8",
    "step-2": "#bfdcde",
    "step-3": "#9acad3",
    "step-4": "#70b3c4",
    "step-5": "#4799b2",
    "step-6": "#217a9a",
    "step-7": "#0c5f7f",
    "step-8": "#07425e",
    "on-step": "#fefefe",
}

DARK: dict[str, str] = {
    "paper": "#14161a",
    "raised": "#1b1e23",
    "sunken": "#20242a",
    "ink": "#e9e7e0",
    "soft": "#a6aab3",
    "line": "#383d46",
    "grid": "#2a2e36",
    "accent": "#72c4df",
    "wash": "#1b2f38",
    "good": "#6fcf9a",
    "bad": "#ff9077",
    "series-1": "#58b2d8",
    "series-2": "#f08c55",
    "series-3": "#5cc091",
    "series-4": "#c198e2",
    "series-5": "#d9b040",
    "series-6": "#ee86b2",
    "pale": "#626c75",
    "step-0": "#1d2329",
    "step-1": "#1f3039",
    "step-2": "#203c4a",
    "step-3": "#214a5b",
    "step-4": "#23596e",
    "step-5": "#256780",
    "step-6": "#4f9db6",
    "step-7": "#86c2d4",
    "step-8": "#c3e6ee",
    "on-step": "#101317",
}

N_STEPS = 9
DARK_TEXT_BELOW = 6  # steps below this one carry text in ink, the others in `on-step`
STEPS: tuple[str, ...] = tuple(LIGHT[f"step-{i}"] for i in range(N_STEPS))
SERIES: tuple[str, ...] = tuple(LIGHT[f"series-{i}"] for i in range(1, 7))


def stylesheet(rules: str) -> str:
    """Variables for both themes, the rules that recolour charts, then `rules`."""
    dark = _variables(DARK)
    return "\n".join(
        [
            f":root{{color-scheme:light;{_variables(LIGHT)}}}",
            "@media screen and (prefers-color-scheme:dark)"
            f"{{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}",
            f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}",
            *_recolouring(),
            rules,
        ]
    )


def _variables(palette: dict[str, str]) -> str:
    return "".join(f"--{role}:{colour};" for role, colour in palette.items())


def _recolouring() -> list[str]:
    return [f'.plot [{what}="{colour}"]{{{what}:var(--{role})}}' for role, colour in LIGHT.items() for what in _PAINTS]


_PAINTS = ("fill", "stroke")
