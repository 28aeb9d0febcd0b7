"""What a person sees of the stack: the console, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

from tests.components import CHROMIUM


def take(url: str, path: Path) -> None:
    """Take a picture of a page as a whole, once its texts and pictures are there.

    Raises
    ------
    ComponentMissingError
        If there is no Chromium.
    """
    program = CHROMIUM.find()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, headless=True, args=arguments)
        try:
            page = browser.new_page(viewport={"width": 1_280, "height": 900}, color_scheme="light")
            page.goto(url, wait_until="load")
            page.screenshot(path=path, full_page=True)
        finally:
            browser.close()
