"""What a person sees of the stack: the console, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

from tests.components import CHROMIUM
from tests.stack.processes import StackError


def take(url: str, path: Path) -> None:
    """Take a picture of a page as a whole, once its texts and pictures are there.

    Raises
    ------
    ComponentMissingError
        If there is no Chromium.
    StackError
        If the page does not answer 200.
    """
    program = CHROMIUM.find()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, headless=True, args=arguments)
        try:
            page = browser.new_page(viewport={"width": 1_280, "height": 900}, color_scheme="light")
            answer = page.goto(url, wait_until="load")
            if answer is None or not answer.ok:
                raise StackError(f"{url} answered {'nothing' if answer is None else answer.status}")
            page.screenshot(path=path, full_page=True)
        finally:
            browser.close()
