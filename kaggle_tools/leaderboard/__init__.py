"""The leaderboard as a measurement: its noise, what it will say, how far to trust it, which two to pick."""

from kaggle_tools.leaderboard.belief import believe
from kaggle_tools.leaderboard.final import Chances, Pick, pick
from kaggle_tools.leaderboard.noise import Move, climb, move
from kaggle_tools.leaderboard.predict import Board, Predicted, leave_one_out, predict, prepare
from kaggle_tools.leaderboard.splits import Splits, draw_splits
from kaggle_tools.leaderboard.tracking import Tracking, track

__all__ = [
    "Board",
    "Chances",
    "Move",
    "Pick",
    "Predicted",
    "Splits",
    "Tracking",
    "believe",
    "climb",
    "draw_splits",
    "leave_one_out",
    "move",
    "pick",
    "predict",
    "prepare",
    "track",
]
